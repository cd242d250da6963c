"""What a run's log tells of it later: its state at any step, what would follow from it anew, how two runs differ.

`read` folds the log up to a moment · `resume` goes on from one · `diff` compares two histories · `replay` asks the router again.
"""
