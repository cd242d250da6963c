"""Graphs: stateful runs of IR documents, and everything a person may do with a run while it lives and after (`/v1`, Stargraph's API).

Here belongs what is about graphs on the wire: their files, the routes, what a run's log tells its followers. What a run may do belongs to
`runs`, what a document means to `spec.ir`.
"""
