"""What the events of a run add up to: `move` for what routers decided, `step` and `life` for the rest, `table` that says which."""
