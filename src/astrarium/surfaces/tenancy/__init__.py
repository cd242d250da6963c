"""Who may do what: users, keys, roles, and how a credential becomes a caller.

The floor below the other surfaces, which may import its catalog, roles and views. HTTP words, and what a DAG or a release is, do not
belong here; nor does the gate itself, which stands where operations are mounted (`surfaces/operation`).
"""
