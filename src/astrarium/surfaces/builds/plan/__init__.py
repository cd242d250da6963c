"""Builds driven by plans: the newest client's `/api/v2` (Stardag 0.27 and later), on the same builds and tasks.

`desk` (builds, plans), `item` and `admission` (what drivers tell of tasks), `claim` (who works on what), `outlook` (members given up),
`wake` (ticks) order; `routes/`, `views/` and `wire` are what they are everywhere.
"""
