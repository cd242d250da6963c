"""What readers ask of builds, tasks and locks: selects and answers."""
