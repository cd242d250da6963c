"""Registries: who is told about builds, and who is asked whether a task may be started.

`port` is what a build needs of one, `item` the shape in which tasks are told, `noop` a registry that knows nothing, `api` the one that
speaks to a server (`/api/v2`), `lock` the locks of `/api/v1`.
"""
