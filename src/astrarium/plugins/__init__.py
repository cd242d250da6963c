"""The open sets: one file a thing, reached by entry point only, never by name.

What belongs here: step types (`steps`: *what* is done) and executors (`executors`: *where* it is done). What does not: when
a try starts, is retried or ends (`runs`), how a DAG file spells a step (`spec`). Strangers' steps use the same door.
"""
