"""What may happen to a key, and what follows.

Belongs here: the pure life of an `Idempotency-Key`. Not here: which requests have one, and how they are carried out.
"""
