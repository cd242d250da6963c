"""Astrarium: one control plane for work that forms a graph.

The rooms, top to bottom: `cli` (commands), `server` and `worker` (where everything meets), `plugins` (step types and
executors), `surfaces` (one API dialect each), `runs` (the life all graphs share), `web` (HTTP as a toolkit) beside `store`
(where it is kept), `kernel` (the engine), `spec` (what users write), `config` and `errors`. Imports only point down.

Here belong the version and nothing that takes time to import: the CLI starts from here.
"""

__version__ = "0.1.0"
