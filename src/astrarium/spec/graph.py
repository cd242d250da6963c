"""The one graph every dialect compiles to: nodes of a step type, edges or rules between them, and what a run needs to know.

A graph is a *thing*: immutable, stored once under `graph_hash`. It holds templates, never values: nothing here has run a
backtick or read a file. Texts inside `Node.params`, `Node.env`, `Condition` … are expanded by the try that executes the node.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from .ir.flow import Flow

Phase = Literal["init", "main", "on_success", "on_failure", "on_cancel", "on_wait", "exit"]
EdgeOn = Literal["success", "failure", "always"]
Join = Literal["all", "any"]
NoticeOn = Literal["failure", "success", "wait", "abort"]


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Without `expected`: a shell command that must exit 0. With it: the expanded text has a line equal to `expected`
    (or matching it, for `re:…`). `negate` flips the result."""

    text: str
    expected: str | None = None
    negate: bool = False


class Retry(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often a failed try is repeated. `limit` counts further tries; a string is a template that must expand to a number.
    Wait before further try n (from 0) = `interval_s` × `backoff`ⁿ (`backoff` 0 = constant), at most `max_interval_s` (0 = no cap).
    `errors`: only after these, each the code of a result or an outcome; empty = after any."""

    limit: int | str
    interval_s: float | str = 0.0
    backoff: float = 0.0
    max_interval_s: float = 0.0
    exit_codes: tuple[int, ...] = ()
    errors: tuple[str, ...] = ()


class Repeat(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a step goes round again after a pass. `limit` = most passes in all (0 = none).
    `while` with neither condition nor exit codes = while it succeeds."""

    mode: Literal["while", "until"]
    condition: Condition | None = None
    exit_codes: tuple[int, ...] = ()
    interval_s: float = 0.0
    limit: int = 0
    backoff: float = 0.0
    max_interval_s: float = 0.0


class Tolerate(msgspec.Struct, frozen=True, omit_defaults=True):
    """When dependents go on although this step failed or was skipped. `output` entries are substrings of stdout, or `re:…`."""

    failure: bool = False
    skipped: bool = False
    exit_codes: tuple[int, ...] = ()
    output: tuple[str, ...] = ()
    mark_success: bool = False


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """The variable a step's stdout becomes, and its `key` among the run's outputs (`omit` = not among them)."""

    name: str
    key: str = ""
    omit: bool = False


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in the graph. `kind` names a registered step type, `params` are its templates (validated by that type).
    `log_output`: `merged` = one log file for both streams, `separate` = one each, empty = as `Graph.merge_output` says."""

    name: str
    kind: str
    id: str = ""
    description: str = ""
    params: dict[str, Any] = {}
    phase: Phase = "main"
    join: Join = "all"
    when: tuple[Condition, ...] = ()
    retry: Retry | None = None
    repeat: Repeat | None = None
    tolerate: Tolerate | None = None
    timeout_s: float = 0.0
    delay_s: float = 0.0
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    stdout: str = ""
    stderr: str = ""
    log_output: str = ""
    output: Output | None = None
    signal_on_stop: str = ""


class Edge(msgspec.Struct, frozen=True, omit_defaults=True):
    """`source` and `target` are positions in `Graph.nodes`."""

    source: int
    target: int
    on: EdgeOn = "success"


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """For the `rules` router: after `node` ended, the first rule (in order) whose `when` fields all equal the state's goes.
    `goto` names the next node; empty = the run ends with `outcome`."""

    node: str
    when: dict[str, Any] = {}
    goto: str = ""
    outcome: str = "succeeded"


class Prepare(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run's first job resolves and records once (`RunPrepared`): parameters, environment, dotenv files, secrets,
    conditions of the whole run. Entries are templates of the dialect."""

    params: Any = None
    param_schema: Any = None
    env: tuple[tuple[str, str], ...] = ()
    dotenv: tuple[str, ...] = ()
    secrets: tuple[dict[str, Any], ...] = ()
    when: tuple[Condition, ...] = ()


class Doors(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ways in which an ended or running run may be moved; set by the dialect's compiler, checked by the run machine."""

    reopen_from: tuple[str, ...] = ("failed", "broken", "cancelled", "partial", "rejected", "succeeded")
    mark_step: bool = True
    pause: bool = True


class Notice(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody to be told when a run ends in one of the ways `on` (or waits for a person), or one of the nodes `steps` fails. The
    step type `kind` tells them, in a run of its own; `params` are its templates, which may name the run's variables and secrets."""

    kind: str
    on: tuple[NoticeOn, ...] = ()
    steps: tuple[str, ...] = ()
    params: dict[str, Any] = {}
    attach_logs: bool = False


class Graph(msgspec.Struct, frozen=True, omit_defaults=True):
    """The definition one run executes. `workdir` is a template; `base_dir` the folder relative paths and dotenv files refer to;
    `tidy`: older runs are too many as soon as one ends, so they go then, and not only with the hourly sweep. `flow` is what the `rules`
    router follows; `rules` and `start` are its short form, without fall-through."""

    name: str
    dialect: str = "dag"
    router: Literal["depends", "rules"] = "depends"
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    rules: tuple[Rule, ...] = ()
    start: str = ""
    flow: Flow | None = None
    prepare: Prepare | None = None
    doors: Doors = Doors()
    shell: tuple[str, ...] = ()
    workdir: str = ""
    base_dir: str = ""
    max_active_steps: int = 0
    max_steps: int = 0
    timeout_s: float = 0.0
    delay_s: float = 0.0
    stop_grace_s: float = 5.0
    max_output_bytes: int = 1024 * 1024
    merge_output: bool = False
    log_dir: str = ""
    queue: str = ""
    max_active_runs: int = 0
    locals: dict[str, str] = {}
    notices: tuple[Notice, ...] = ()
    tidy: bool = False
    meta: dict[str, Any] = {}

    def merges(self, node: Node) -> bool:
        """Whether stderr of a node's tries goes where their stdout goes."""
        return not node.stderr and (node.log_output or ("merged" if self.merge_output else "separate")) == "merged"


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(Graph)


def encode_graph(graph: Graph) -> bytes:
    """The canonical bytes of a graph (sorted keys): what is stored and hashed."""
    return _ENCODER.encode(graph)


def decode_graph(data: bytes) -> Graph:
    return _DECODER.decode(data)


def graph_hash(data: bytes) -> str:
    """SHA-256 of the canonical bytes, hex."""
    return hashlib.sha256(data).hexdigest()
