"""How a build ended."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ...errors import AstrariumError


class BuildStatus(StrEnum):
    """`stopped`: the registry says the build is over (somebody cancelled it)."""

    SUCCESS = "success"
    FAILURE = "failure"
    STOPPED = "stopped"


class TaskCount(msgspec.Struct):
    """Of the tasks a build met: made before, made now, failed; skipped because something they need failed; cancelled because the build
    ended before their turn."""

    discovered: int = 0
    previously_completed: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0

    @property
    def pending(self) -> int:
        return self.discovered - self.previously_completed - self.succeeded - self.failed - self.skipped - self.cancelled


class BuildSummary(msgspec.Struct, kw_only=True):
    """What `ar.build` gives. `failed_task` is the id of the first task that failed, `error` what its body raised."""

    status: BuildStatus
    task_count: TaskCount
    build_id: str | None = None
    failed_task: str | None = None
    error: BaseException | None = None

    def __str__(self) -> str:
        count = self.task_count
        parts = [f"{count.succeeded} made", f"{count.previously_completed} made before"]
        parts += [
            f"{number} {word}"
            for number, word in ((count.failed, "failed"), (count.skipped, "skipped"), (count.cancelled, "cancelled"))
            if number
        ]
        said = f"build {self.status}: {', '.join(parts)} of {count.discovered} tasks"
        return f"{said}; {self.error}" if self.error else said

    def raise_on_failure(self) -> None:
        """Raises `BuildFailed` unless the build succeeded."""
        if self.status is not BuildStatus.SUCCESS:
            raise BuildFailed(self) from self.error


class BuildFailed(AstrariumError):
    """A build did not succeed. `summary` says more; the cause is what the first failed body raised."""

    code = "build_failed"

    def __init__(self, summary: BuildSummary) -> None:
        super().__init__(str(summary), hint="see the failed task; what was made is kept, and the next build goes on from there")
        self.summary = summary
