"""A run as people watch it: a tree of steps that changes in place on a terminal, lines as things happen on a pipe."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .screen import STYLES
from .view import RunView, StepView, duration

MARKS = {
    "succeeded": "✓",
    "partial": "◐",
    "skipped": "–",
    "pending": "·",
    "queued": "·",
    "running": "▶",
    "delayed": "↻",
    "waiting": "?",
    "failed": "✗",
    "timed_out": "✗",
    "broken": "✗",
    "lost": "✗",
    "rejected": "✗",
    "aborted": "■",
    "cancelled": "■",
    "stopping": "■",
}
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
MOST_LINES = 40
"""Above this many steps only those that run or went wrong have a line."""

QUIET = frozenset({"succeeded", "skipped", "pending", "queued"})
Preview = dict[str, list[str]]
"""step → the last lines it wrote"""


class Show(Protocol):
    """Where the progress of a run goes."""

    def update(self, run: RunView, preview: Preview) -> None: ...

    def say(self, text: str) -> None:
        """A remark beside the tree."""

    def finish(self, run: RunView, preview: Preview) -> None: ...


def run_tree(run: RunView, preview: Preview, now: int) -> Text:
    """The tree: a line for the run, one a step, under it what it wrote and the runs it started."""
    done = sum(step.status in QUIET and step.status not in ("pending", "queued") for step in run.steps if not step.phase)
    total = sum(not step.phase for step in run.steps)
    tree = Text(no_wrap=True, overflow="ellipsis")
    tree.append(f"{_mark(run.status, now)} ", STYLES.get(run.status, ""))
    tree.append(run.name, "bold")
    tree.append(f"  {run.id}", "dim")
    tree.append(f"  {run.status}", STYLES.get(run.status, ""))
    tree.append(f"  {done}/{total} steps  {duration(run.started_at or run.created_at, run.ended_at, now)}\n")
    steps, hidden = _shown(run.steps)
    width = max((len(step.name) for step in steps), default=0)
    for place, step in enumerate(steps):
        last = place == len(steps) - 1 and not hidden
        _add_step(tree, step, preview.get(step.name, []), width, now, last)
    if hidden:
        counts = ", ".join(f"{count:,} {status}" for status, count in sorted(hidden.items()))
        tree.append(f"└─ … {counts}\n", "dim")
    for key, value in run.outputs.items():
        if value:
            tree.append(f"   {key} = ", "dim").append(f"{_short(value, 160)}\n")
    if run.ended and run.reason and not run.good:
        tree.append(f"   reason: {run.reason}\n", "dim")
    tree.right_crop(1)
    return tree


def _shown(steps: list[StepView]) -> tuple[list[StepView], Counter[str]]:
    if len(steps) <= MOST_LINES:
        return steps, Counter()
    loud = [step for step in steps if step.status not in QUIET][:MOST_LINES]
    kept = {id(step) for step in loud}
    return loud, Counter(step.status for step in steps if id(step) not in kept)


def _add_step(tree: Text, step: StepView, preview: list[str], width: int, now: int, last: bool) -> None:
    tree.append("└─ " if last else "├─ ", "dim")
    tree.append(f"{_mark(step.status, now)} ", STYLES.get(step.status, ""))
    tree.append(f"{step.name:<{width}}", "dim" if step.status == "pending" else "")
    for note, style in _notes(step, now):
        tree.append(f"  {note}", style)
    tree.append("\n")
    stem = "   " if last else "│  "
    children, rest = step.children[:MOST_LINES], step.children[MOST_LINES:]
    for child in children:
        tree.append(f"{stem}   {_mark(child.status, now)} ", STYLES.get(child.status, ""))
        tree.append(f"{child.name} {child.params}".rstrip())
        tree.append(f"  {duration(child.started_at, child.ended_at, now)}\n", "dim")
    if rest:
        tree.append(f"{stem}   … {len(rest)} more\n", "dim")
    for line in preview:
        tree.append(f"{stem}   {line}\n", "dim")


def _notes(step: StepView, now: int) -> Iterable[tuple[str, str]]:
    if step.status not in ("pending", "queued", "skipped"):
        yield duration(step.started_at, step.ended_at, now), ""
    if step.status == "pending" and step.after:
        yield f"after {_short(', '.join(step.after), 60)}", "dim"
    if step.phase:
        yield f"on {step.phase}", "dim"
    if step.tries > 1 and step.passes <= 1:
        yield f"try {step.tries}", "yellow"
    if step.passes > 1:
        yield f"pass {step.passes}", "dim"
    if step.status not in MARKS or step.status in ("delayed", "waiting", "timed_out", "lost", "aborted", "skipped", "partial"):
        yield step.status, STYLES.get(step.status, "")
    if step.error and step.status not in ("succeeded", "pending"):
        yield _short(step.error, 300), "red" if step.status in ("failed", "timed_out", "broken", "lost") else "dim"
    if step.tolerated and step.status != "succeeded":
        yield "tolerated", "dim"


def _mark(status: str, now: int) -> str:
    return SPINNER[now // 100_000 % len(SPINNER)] if status == "running" else MARKS.get(status, "·")


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


class LiveTree:
    """Changes in place on a terminal; what is left at the end is the finished tree."""

    def __init__(self, console: Console | None = None) -> None:
        self._run: RunView | None = None
        self._preview: Preview = {}
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=10, redirect_stdout=False, redirect_stderr=False
        )

    def _render(self) -> Text:
        return run_tree(self._run, self._preview, now()) if self._run else Text("starting …", "dim")

    def update(self, run: RunView, preview: Preview) -> None:
        self._run, self._preview = run, preview
        if not self._live.is_started:
            self._live.start()

    def say(self, text: str) -> None:
        self._live.console.print(Text(text, style="yellow"))

    def finish(self, run: RunView, preview: Preview) -> None:
        self.update(run, preview)
        self._live.stop()


class Lines:
    """A line when a step starts and when it ends, in the order in which it happened."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._told: set[tuple[str, str, int]] = set()
        self._greeted = False

    def update(self, run: RunView, preview: Preview) -> None:
        if not self._greeted:
            self._greeted = True
            self.say(f"{run.name} {run.id}")
        news: list[tuple[int, bool, int, StepView, str]] = []  # at the same moment, what ended comes before what began
        for place, step in enumerate(run.steps):
            started, ended = (step.name, "started", run.round), (step.name, "ended", run.round)
            if step.ended_at and step.ended_at < run.created_at:  # a fork took it over
                if ended not in self._told:
                    self._told.update((started, ended))
                    self.say(f"{step.name}: {step.status} before the fork")
                continue
            if step.started_at and step.tries and started not in self._told:
                self._told.add(started)
                news.append((step.started_at, True, place, step, "started"))
            if step.ended_at and ended not in self._told:
                self._told.add(ended)
                news.append((step.ended_at, step.started_at == step.ended_at, place, step, "ended"))
        for *_, step, what in sorted(news, key=lambda one: one[:3]):
            self._tell(step, what, preview)

    def _tell(self, step: StepView, what: str, preview: Preview) -> None:
        if what == "started":
            self.say(f"{step.name}: started")
            return
        for child in step.children:
            self.say(f"{step.name} > {child.name} {child.params}: {child.status}")
        for line in preview.get(step.name, []):
            self.say(f"{step.name} | {line}")
        took = duration(step.started_at, step.ended_at)
        said = f"{step.name}: {step.status}" + (f" in {took}" if took else "")
        said += f" on try {step.tries}" if step.tries > 1 and step.passes <= 1 else ""
        said += f": {_short(step.error, 1000)}" if step.error and step.status != "succeeded" else ""
        self.say(said)

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def finish(self, run: RunView, preview: Preview) -> None:
        self.update(run, preview)
        for key, value in run.outputs.items():
            if value:
                self.say(f"{key} = {_short(value, 160)}")
        took = duration(run.started_at or run.created_at, run.ended_at)
        self.say(f"{run.name}: {run.status} in {took}" + (f" ({run.reason})" if run.reason and not run.good else ""))


class Silent:
    """Nothing on the way; remarks go where errors go."""

    def update(self, run: RunView, preview: Preview) -> None:
        pass

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def finish(self, run: RunView, preview: Preview) -> None:
        pass


def now() -> int:
    return time.time_ns() // 1000


def choose_show(as_json: bool) -> Any:
    """The way of showing that fits where our output goes."""
    if as_json:
        return Silent()
    return LiveTree() if sys.stdout.isatty() else Lines()
