"""Calling a registry: one session carries the credential, renews it, repeats what may be repeated, and turns refusals into errors.

`call` has `Session` and `AsyncSession`, `credential` who we are, `place` where we work, `root` the target roots, `refusal` the errors.
"""

from __future__ import annotations

from .call import RETRY, Answer, AsyncSession, Session
from .credential import Identity
from .place import Environment, Me, Place, Root, Workspace
from .root import fetch_roots, settle_roots, sync_roots

__all__ = [
    "RETRY",
    "Answer",
    "AsyncSession",
    "Environment",
    "Identity",
    "Me",
    "Place",
    "Root",
    "Session",
    "Workspace",
    "fetch_roots",
    "settle_roots",
    "sync_roots",
]
