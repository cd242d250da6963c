"""How the jobs of a run are carried out.

What belongs here: everything that touches the world on behalf of a run: `job` (one class per kind of job), `context` (one
execution of a step), `prepare` (a run's first job), `workshop` (what they share). What does not: what a result means (`..decide`).
"""
