"""Routes of workspaces: each file a noun, all in `table`."""
