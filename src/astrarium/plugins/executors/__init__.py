"""Where processes live: `local` (this machine) and the warm Python workers (`python_pool`, `python_worker`).

What belongs here: starting, watching and stopping processes, and their way to the log files. What does not: what is run
(`steps`) and what its end means (`runs`).
"""
