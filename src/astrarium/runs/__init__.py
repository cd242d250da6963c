"""The one life all graphs share.

What belongs here: the run and its steps (`run`, a machine), the routers that say what comes next (`routing`), how a job of
a run is carried out (`work`), and the ports plugins fill (`ports`). What does not: how a graph is written (`spec`), who may start it
and what a client is told (`surfaces`).
"""
