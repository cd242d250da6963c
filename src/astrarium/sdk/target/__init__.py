"""Targets: where the results of tasks lie, and how a value becomes bytes.

`store` is the port to places that keep files (`local`, `memory`, `cloud`), `root` turns names of target roots into URIs, `serializer`
turns values into files, and `target` is one file or directory with a URI.
"""
