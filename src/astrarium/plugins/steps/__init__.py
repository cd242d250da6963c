"""Step types: one file and one entry point (`astrarium.steps`) each.

What belongs here: a params struct, and `run`, which turns a try's context into a result. What does not: retries, time-outs,
conditions and captured output (`runs`), and processes themselves (`executors`).
"""
