"""Search over tasks: what a filter says, which values of a task can be asked for, and the selects that answer."""
