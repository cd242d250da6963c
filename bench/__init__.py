"""How fast it is, each figure next to the bare limit of the same machine in the same run. `python -m bench --help`.

What belongs here: one file per family of figures, `bare` (the limits), `drive` and `server` (how ours is put to work), `report`.
What does not: tests; nothing here fails a build. How to read the figures: docs/bench.md.
"""
