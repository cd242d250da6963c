"""The commands: one file a noun, loaded by name when called.

Here belong reading arguments, asking a server or a data folder, and showing the answer to people and to pipes. What a run is,
what a file means and where things are kept is decided below; nothing here is needed by anything else.
"""
