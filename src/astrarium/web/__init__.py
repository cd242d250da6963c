"""HTTP as a toolkit: the app with its limits, problems, paging, filtering, the caller. One noun a file.

Knows no surface, no kernel and no store: surfaces hand in how their errors look, `server` hands in how a credential becomes
a caller, and reads go through a port of one method. A rule about runs, DAGs or tenants does not belong here.
"""
