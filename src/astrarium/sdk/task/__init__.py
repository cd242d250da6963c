"""Tasks: what is to be made, from what, and under which id.

`identity` is the pure part (canonical JSON, the two hashes), `model` a pydantic model that knows which of its fields count, `kind` the
registry of task classes and namespaces, `task` the class users derive from, `function` the decorator, `alias` a reference to a task
whose class is gone.
"""
