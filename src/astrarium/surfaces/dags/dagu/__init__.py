"""Homes of Dagu 1.x: where things lie in them, what their settings mean here, and the past of their runs as orders to our engine.
Reading them belongs here; writing into our own folders and engine does not."""
