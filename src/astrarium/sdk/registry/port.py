"""What a build needs of a registry. All methods block, and may be called from any thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from .item import Item, Order, Place, StoredTask


class BuildRecord(Protocol):
    """One build in a registry, from its opening to its end."""

    @property
    def build_id(self) -> str | None:
        """The registry's id of the build; None when nothing is recorded."""
        ...

    @property
    def renew_s(self) -> float:
        """Seconds between two renewals of what is held; 0: nothing is to be renewed."""
        ...

    def register(self, items: Sequence[Item]) -> None:
        """Tell tasks, upstreams before the tasks that need them. `seal` comes after the last of them."""
        ...

    def seal(self) -> None: ...

    def start(self, task_id: str, execution_id: str, place: Place, limit_keys: Sequence[str]) -> None:
        """Claim a task. Raises `Denied`."""
        ...

    def open_upstreams(self, task_id: str, known: Callable[[str], bool]) -> Sequence[StoredTask]:
        """What the registry wants made before a task may start, and does not know as made: also tasks that an earlier, abandoned
        execution of it asked for. Those that are not `known` come with their body."""
        ...

    def renew(self, task_id: str, execution_id: str) -> bool:
        """Keep the claim; False when it is no longer ours."""
        ...

    def complete(self, task_id: str, execution_id: str, artifacts: Sequence[Mapping[str, Any]]) -> None: ...

    def fail(self, task_id: str, execution_id: str, error: str) -> None: ...

    def interrupt(self, task_id: str, execution_id: str, error: str) -> None:
        """The body was broken off, not wrong: the task may be started again."""
        ...

    def add(self, task_id: str, execution_id: str, items: Sequence[Item], needed: Sequence[str]) -> None:
        """A running body asked for tasks: `needed` are the instance hashes of those it waits for, `items` they and all below them."""
        ...

    def skip_blocked(self) -> None:
        """Tasks that need a failed one will not be made."""
        ...

    def end(self, status: str, error: str | None) -> None:
        """`success`, `failure`, or `exit_early` (we stop, others or a resume may go on). Where the registry lacks reports of tasks that are
        made, `success` raises `Denied` (`INCOMPLETE`, with their `task_ids`), and `forced` tells it to trust us."""
        ...


class Registry(Protocol):
    """Somewhere builds are recorded and tasks are claimed."""

    @property
    def keeps(self) -> bool:
        """Whether anything is recorded. If not, its records are told nothing."""
        ...

    def target_roots(self) -> Mapping[str, str] | None:
        """The target roots a build that starts now has to use; None: those that are configured. Raises `Conflict` when what is
        remembered here is not what the registry says."""
        ...

    def open_build(self, roots: Sequence[Item], order: Order) -> BuildRecord:
        """Begin a build of these tasks, or go on with one."""
        ...

    def read_task(self, task_id: str) -> StoredTask:
        """Raises `NotFound`."""
        ...
