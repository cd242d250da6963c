"""Routers: what comes next. Pure, one file per kind; they see a plan and a memo, never a store, a clock or a process.

`port` says what a router is; `depends` follows edges; `rules` follows conditions over the run's state document.
"""
