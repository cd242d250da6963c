"""The compiler of DAG files: one YAML text of the dialect → one `DagFile` with its graph and the graphs of its local sub-DAGs.

Everything wrong with a text is told at once. Nothing is evaluated: parameters, variables, backticks stay templates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ..errors import Invalid, Problem
from .dag_yaml.fields import Fields
from .dag_yaml.inherit import merge_root, without
from .dag_yaml.kind import read_shell
from .dag_yaml.notice import read_notices
from .dag_yaml.order import read_edges
from .dag_yaml.root import (
    ROOT,
    read_defaults,
    read_kept,
    read_name,
    read_prepare,
    read_schedule,
    read_tags,
)
from .dag_yaml.step import HANDLER_KEYS, HANDLERS, Draft, StepReader
from .graph import Graph, Prepare, encode_graph, graph_hash
from .params import default_text, missing_programs, parse_params
from .source import Report, YamlNode, read_documents

MAX_DOCUMENTS = 256
_DEFAULT_OUTPUT_BYTES = 1024 * 1024
_DEFAULT_GRACE_S = 5


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """Checked cron expressions, as written: when to start, stop and restart."""

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


class DagFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A DAG file that loads. `queue` empty = the DAG's own queue, whose length `max_active_runs` is (negative = never queued);
    `active_limit` is that number where the file itself gives it, else 0; `params_default` is the text a start form shows.
    `locals` are the later documents of the file by name. `meta` equals `graph.meta["dag"]`: the fields nothing here acts upon, in
    the dialect's spelling."""

    name: str
    graph: Graph
    file: str = ""
    group: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    schedule: Schedule = Schedule()
    queue: str = ""
    max_active_runs: int = 1
    params_default: str = ""
    active_limit: int = 0
    locals: dict[str, Graph] = {}
    meta: dict[str, Any] = {}


class Installed(NamedTuple):
    """What a file may ask for besides the dialect's own: step types and providers of secrets (None = not known), and whether
    there is a program of a name (None = not asked)."""

    kinds: frozenset[str] | None = None
    secrets: frozenset[str] | None = None
    has_program: Callable[[str], bool] | None = None


NOTHING_KNOWN = Installed()


class Inherited(msgspec.Struct, frozen=True):
    """What every DAG has in common, laid under each (`dag_yaml.inherit`). `below` is what reaches sub-DAGs: all but the handlers.
    With `problems` no DAG compiles, and each tells them."""

    problems: tuple[Problem, ...] = ()
    document: YamlNode | None = None
    below: YamlNode | None = None
    has_handlers: bool = False


def read_inherited(text: str, file: str, installed: Installed = NOTHING_KNOWN) -> Inherited:
    """Read the file of what every DAG has in common: all a DAG may have but `steps`. Its `name` means nothing."""
    report = Report(file)
    documents = [document for document in read_documents(text, report, file) if not document.is_null]
    if len(documents) > 1:
        report.add("what all DAGs have in common is one document", documents[1], hint="local sub-DAGs belong into a DAG's own file")
    if not documents:
        return Inherited(tuple(report.finished()))
    document = without(documents[0], "name")
    for key, (key_node, _) in document.entries.items():
        if key.lower() == "steps":
            report.add("what all DAGs have in common are no `steps`", key_node, "steps", "give them to each DAG")
    if not report.problems:
        _Document(document, "inherited", report, installed, "").build()
    below = without(document, "handlerOn")
    return Inherited(tuple(report.finished()), document, below, len(below.entries) != len(document.entries))


def compile_dag(
    text: str,
    *,
    name: str,
    file: str,
    base_dir: str,
    known_kinds: frozenset[str] | None = None,
    installed: Installed = NOTHING_KNOWN,
    inherited: Inherited | None = None,
    called: bool = False,
) -> DagFile:
    """Compile a DAG text. `name` serves when the text gives none (the file's name without extension), `file` is shown in
    problems, `base_dir` is what relative paths refer to. `known_kinds` are step types installed besides the dialect's own, `installed`
    tells more. `inherited` lies under it; `called` = as a sub-DAG, which inherited handlers do not reach.
    Raises `Invalid` with every problem found."""
    report = Report(file)
    installed = installed if known_kinds is None else installed._replace(kinds=known_kinds)
    documents = read_documents(text, report)
    if inherited is not None:
        report.problems += inherited.problems
        if not inherited.problems:
            documents = _with_inherited(documents, inherited, called)
    main, locals_, dag = None, {}, None
    if len(documents) > MAX_DOCUMENTS:
        report.add(f"more than {MAX_DOCUMENTS} documents in one file", documents[MAX_DOCUMENTS], hint="use several files")
    elif documents:
        main = _Document(documents[0], name, report, installed, base_dir)
        locals_ = _read_locals(documents[1:], main, report, installed)
        dag = main.build()
    elif not report.problems:
        report.add_at("the file is empty: a DAG needs at least `steps`", 1, 1)
    if report.problems or dag is None or main is None:
        problems = report.finished()
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Invalid(f"{problems[0]}{more}", problems)
    return _with_locals(dag, locals_)


def _with_inherited(documents: list[YamlNode], inherited: Inherited, called: bool) -> list[YamlNode]:
    first = inherited.below if called else inherited.document
    if first is None or inherited.below is None or not documents or len(documents) > MAX_DOCUMENTS:
        return documents
    below = inherited.below
    return [merge_root(first, documents[0]), *(one if one.is_null else merge_root(below, one) for one in documents[1:])]


def _read_locals(documents: list[YamlNode], main: _Document, report: Report, installed: Installed) -> dict[str, Graph]:
    found: dict[str, Graph] = {}
    places: dict[str, YamlNode] = {}
    for document in documents:
        if document.is_null:
            continue
        local = _Document(document, "", report, installed, main.base_dir, main.workdir)
        if not local.fields.has("name"):
            report.add("a local sub-DAG needs a `name`", document, "name")
            local.name = "unnamed"
        elif local.name == main.name or local.name in found:
            report.add(f"a second DAG named `{local.name}` in this file", local.fields.get("name"), "name")
        found[local.name], places[local.name] = local.build().graph, document
    return _link_locals(found, places, report)


def _link_locals(found: dict[str, Graph], places: dict[str, YamlNode], report: Report) -> dict[str, Graph]:
    """Give each local graph the hashes of the local graphs it calls. Hashes cannot go round in a circle, so calls must not."""
    linked: dict[str, Graph] = {}
    open_: set[str] = set()

    def link(name: str) -> Graph | None:
        if name in linked:
            return linked[name]
        if name in open_:
            report.add(f"the local DAG `{name}` calls itself in a circle", places[name], hint="move it to a file of its own")
            return None
        open_.add(name)
        graph = found[name]
        called = {str(node.params.get("name")) for node in graph.nodes if node.kind == "child"}
        parts = {other: link(other) for other in sorted(called & found.keys())}
        hashes = {other: graph_hash(encode_graph(part)) for other, part in parts.items() if part}
        linked[name] = msgspec.structs.replace(graph, locals=hashes)
        return linked[name]

    for name in found:
        link(name)
    return linked


def _with_locals(dag: DagFile, locals_: dict[str, Graph]) -> DagFile:
    if not locals_:
        return dag
    hashes = {name: graph_hash(encode_graph(graph)) for name, graph in locals_.items()}
    graph = msgspec.structs.replace(dag.graph, locals=hashes)
    return msgspec.structs.replace(dag, graph=graph, locals=locals_)


class _Document:
    """One YAML document on its way to a `DagFile`."""

    def __init__(
        self,
        node: YamlNode,
        name: str,
        report: Report,
        installed: Installed,
        base_dir: str,
        workdir: str = "",
    ) -> None:
        self.report = report
        self.fields = Fields(node, "", report, ROOT)
        self.name = read_name(self.fields, name) if name or self.fields.has("name") else ""
        self.base_dir = base_dir
        self.workdir = self.fields.text("workingDir") or workdir
        self._defaults = read_defaults(self.fields)
        self._installed = installed
        self._steps = StepReader(report, self._defaults, installed.kinds)

    def build(self) -> DagFile:
        fields = self.fields
        kept = read_kept(fields)
        steps, listed = self._steps.read(fields.get("steps"))
        self._steps.settle(steps)
        edges = read_edges(steps, listed and kept["type"] == "chain", self.report)
        drafts = steps + self._handlers({draft.name: draft for draft in steps})
        prepare = read_prepare(fields, self._installed.secrets)
        self._look_for_programs(prepare)
        schedule, tags = read_schedule(fields), read_tags(fields)
        runs = fields.whole("maxActiveRuns", 1, least=None) or 1
        shown = default_text(prepare.params)
        meta = self._meta(kept, drafts, shown, schedule, tags)
        graph = Graph(
            name=self.name,
            nodes=tuple(draft.node for draft in drafts if draft.node),
            edges=edges,
            prepare=prepare,
            shell=tuple(read_shell(fields)),
            workdir=self.workdir,
            base_dir=self.base_dir,
            max_active_steps=fields.whole("maxActiveSteps"),
            timeout_s=fields.whole("timeoutSec"),
            delay_s=fields.whole("delaySec"),
            stop_grace_s=fields.whole("maxCleanUpTimeSec", _DEFAULT_GRACE_S),
            max_output_bytes=fields.whole("maxOutputSize") or _DEFAULT_OUTPUT_BYTES,
            merge_output=fields.choice("logOutput", ("separate", "merged")) == "merged",
            log_dir=fields.text("logDir"),
            queue=fields.text("queue"),
            max_active_runs=runs,
            tidy=kept.get("histRetentionDays") == 0 or kept.get("histRetentionRuns", 0) > 0,
            notices=read_notices(fields, kept, [draft.name for draft in drafts if draft.extras.get("mailOnError")]),
            meta=meta,
        )
        return DagFile(
            name=self.name,
            graph=graph,
            file=self.report.file,
            group=kept.get("group", ""),
            description=kept.get("description", ""),
            tags=tags,
            schedule=Schedule(**schedule),
            queue=graph.queue,
            max_active_runs=runs,
            params_default=shown,
            active_limit=max(0, runs) if fields.has("maxActiveRuns") else 0,
            meta=meta["dag"],
        )

    def _look_for_programs(self, prepare: Prepare) -> None:
        has_program = self._installed.has_program
        if has_program is None or self.report.problems:
            return
        try:
            missing = missing_programs(parse_params(prepare.params), prepare, has_program)
        except Invalid as error:
            self.report.add(error.message, self.fields.get("params"), "params", error.hint)
            return
        for problem in missing:
            self.report.add(problem.message, self.fields.get("params"), "params", problem.hint)

    def _handlers(self, taken: dict[str, Draft]) -> list[Draft]:
        handlers = self.fields.sub("handlerOn", HANDLER_KEYS)
        if handlers is None:
            return []
        drafts = [draft for key in HANDLERS if (draft := self._steps.hook(handlers, key))]
        for draft in drafts:
            if draft.name in taken:
                taken[draft.name].complain(f"`{draft.name}` is the name of a handler, choose another", "name")
        return drafts

    def _meta(
        self, kept: dict[str, Any], drafts: list[Draft], shown: str, schedule: dict[str, tuple[str, ...]], tags: tuple[str, ...]
    ) -> dict[str, Any]:
        dag = {
            **self._defaults,
            **kept,
            "tags": list(tags),
            "schedule": {name: list(crons) for name, crons in schedule.items()},
            "defaultParams": shown,
        }
        steps = {draft.name: draft.extras for draft in drafts if draft.extras}
        return {"dag": {name: value for name, value in dag.items() if value not in ("", [], {})}, "steps": steps}
