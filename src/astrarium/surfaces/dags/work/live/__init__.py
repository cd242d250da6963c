"""Following: the log and the files of steps, read once as they grow for everybody who follows them. What a follower is told
belongs to `views`."""
