"""The DAG dialect, piece by piece: how one YAML document of it becomes nodes, edges and conditions of a `Graph`.

Here belong the readings of the dialect's fields, each piece a pure function from YAML nodes to parts of the graph.
`spec.dag` puts them together and is the only door; nothing outside `spec` imports from here. Resolving templates (parameters,
variables, conditions) does not belong here but in `spec.params`, `spec.expand` and `spec.condition`.
"""
