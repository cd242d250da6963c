"""Builds: finding out what is missing, and making it.

`frontier` is the pure part (what is ready, what waits, what is blocked), `executor` says where bodies run, `claim` who may run them,
`scheduler` is the one loop over both, `entry` holds the functions users call.
"""
