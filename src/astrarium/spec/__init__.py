"""What users write: definitions as immutable data, and the pure rules for reading and resolving them.

Here belong: the one `Graph` every dialect compiles to, the compilers (`dag`), identifiers, cron expressions, and the pure
languages inside a definition (parameters, expansion, conditions, retry delays). Definitions are templates, never values.

Here do not belong: files, processes, clocks, network, stored state, anything that knows a run is going on. A file's text is
handed in; whatever needs a shell gets one handed in as a callable.
"""
