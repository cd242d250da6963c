"""Requests that may be repeated: one `Idempotency-Key`, carried out once.

Belongs here: the life of a key and the answer kept for it, for all surfaces. Not here: which operations take part (`idempotent` in
their rows), and keys a contract puts into a request's body.
"""
