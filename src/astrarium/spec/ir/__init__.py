"""The graph dialect, piece by piece: how an IR document (YAML or JSON, or its short authoring form) becomes one `Graph` for the
`rules` router.

Everything here is pure: files, imports, tools and keys are handed in. `spec.ir.compile` is the door; `flow` is what the router
follows. State is validated and merged, and rules are judged, by `runs.routing.rules`.
"""
