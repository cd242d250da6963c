"""What is done for graphs outside any request: files are read and watched, code is imported."""
