"""Keeping what is claimed: one thread renews all claims of a build, however busy its loop is."""

from __future__ import annotations

import logging
import threading

import msgspec

from ...errors import AstrariumError
from ..registry.port import BuildRecord

log = logging.getLogger("astrarium.sdk")


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """How claims are held and waited for. Somebody else's task is asked for again after `first_wait_s`, then twice as long each time up
    to `most_wait_s`; after `give_up_s` it counts as failed."""

    ttl_s: int = 120
    first_wait_s: float = 1.0
    most_wait_s: float = 15.0
    give_up_s: float = 300.0


class Renewal:
    """Renews claims every `renew_s` of the record, from `__enter__` to `__exit__`."""

    def __init__(self, record: BuildRecord) -> None:
        self._record = record
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="astrarium-claims", daemon=True)

    def __enter__(self) -> Renewal:
        if self._record.renew_s:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def hold(self, task_id: str, execution_id: str) -> None:
        with self._lock:
            self._held[task_id] = execution_id

    def release(self, task_id: str) -> None:
        with self._lock:
            self._held.pop(task_id, None)

    def _work(self) -> None:
        while not self._over.wait(self._record.renew_s):
            with self._lock:
                held = list(self._held.items())
            for task_id, execution_id in held:
                if not self._over.is_set():
                    self._renew(task_id, execution_id)

    def _renew(self, task_id: str, execution_id: str) -> None:
        try:
            ours = self._record.renew(task_id, execution_id)
        except AstrariumError as error:
            log.warning(
                "the claim on task %s could not be renewed: %s; trying again in %g s", task_id, error, self._record.renew_s
            )
            return
        if not ours:
            self.release(task_id)
            log.warning("task %s is no longer claimed by this build: somebody took it over or stopped it", task_id)
