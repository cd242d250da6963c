"""The compiler of graphs: one document, IR or short form, becomes the `Graph` its runs execute.

Everything wrong is told at once, with its place. Nothing is imported or read here: see `installed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...errors import Invalid
from ..graph import Doors, Graph, Retry, encode_graph
from ..graph import graph_hash as stored_hash
from ..source import YamlNode
from .authoring import expand_short, is_short
from .check.node import ChildGraph, Made, Scene, budget_of, make_node
from .check.whole import asked_of, check_document, check_installed, load_packs, read_packs
from .document import Document, NodeEntry, RuleEntry, read_document
from .flow import Budget, Field, Flow, FlowRule, Parallel
from .hash import document_hash
from .installed import NOTHING_KNOWN, Child, Effects, Installed
from .pack.policy import Pack, Policy, policy_of
from .read import Findings, at, read_tree, tree_of
from .rule.action import asserted, read_action, read_block
from .rule.when import Ground, read_when
from .state import StateClass, read_fields

DIALECT = "graph"
MAX_DEPTH = 20
"""How deep graphs may lie in one another."""
MAX_CHILDREN = 1000
"""How many child documents one graph may be made of."""

_DOORS = Doors(reopen_from=("failed", "broken", "cancelled", "rejected"), mark_step=False)
_WORST: Mapping[Effects, int] = {"none": 0, "read": 1, "write": 2, "external": 3}


class Compiled(msgspec.Struct, frozen=True):
    """A graph that loads. `hash` is its `graph_hash` on the wire (`graph` itself is stored under another, of its bytes); `children`:
    the graphs its nodes run, of all depths, by the hash they are stored under; `effects`: the most its nodes do to the world;
    `permissions`: what a run needs to be allowed; `warnings`: what does not keep it from loading."""

    id: str
    hash: str
    graph: Graph
    document: Document
    children: dict[str, Graph] = {}
    policy: Policy = Policy()
    effects: Effects = "none"
    permissions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def compile_graph(text: str, *, file: str = "", key: str = "", installed: Installed = NOTHING_KNOWN) -> Compiled:
    """Compile a text, YAML or JSON. `file` is shown in problems, and child paths are relative to it; `key` is what `Child.key` of the
    same file would be.
    Raises `Invalid` whose problems are all `Defect`s found."""
    found = Findings(file)
    return _finish(read_tree(text, found), found, _Load(installed), (key,) if key else ())


def compile_value(value: Mapping[str, Any], *, file: str = "", installed: Installed = NOTHING_KNOWN) -> Compiled:
    """Compile a document that was already read from JSON; its defects have pointers and no lines."""
    found = Findings(file)
    try:
        found.tree = found.original = tree_of(value)
    except ValueError as error:
        raise Invalid(f"this is no JSON document: {error}") from error
    return _finish(found.tree, found, _Load(installed), ())


def _finish(
    root: YamlNode | None,
    found: Findings,
    load: _Load,
    above: tuple[str, ...],
    inherited: tuple[Field, ...] | None = None,
    packs: tuple[Pack, ...] = (),
) -> Compiled:
    if root is not None and is_short(root):
        root = expand_short(root, found)
    compiled = _Compiling(root, found, load, above, inherited, packs).build() if root is not None else None
    if found.count or compiled is None:
        defects = tuple(found.finished())
        more = f" (and {len(defects) - 1} more)" if len(defects) > 1 else ""
        raise Invalid(f"{defects[0]}{more}", defects, code="invalid_graph")
    return compiled


class _Load:
    """What the documents of one graph share."""

    def __init__(self, installed: Installed) -> None:
        self.installed = installed
        self.count = 0


class _Compiling:
    """One document on its way to a `Graph`. `above`: keys of the documents it lies in; `inherited`: the state of the graph around it,
    on which a document without rules runs; `packs`: those mounted by the graphs around it, which hold for it too."""

    def __init__(
        self,
        root: YamlNode,
        found: Findings,
        load: _Load,
        above: tuple[str, ...],
        inherited: tuple[Field, ...] | None,
        packs: tuple[Pack, ...],
    ) -> None:
        self.packs = packs
        self.found = found
        self.load = load
        self.installed = load.installed
        self.above = above
        self.document = read_document(root, found)
        self.children: dict[str, Graph] = {}
        self.child_hashes: dict[str, str] = {}
        self.shared = inherited is not None and not self.document.rules
        self.inherited = inherited if self.shared else None
        self.fields: tuple[Field, ...] = inherited or ()

    def build(self) -> Compiled | None:
        """None when there are defects."""
        document, found = self.document, self.found
        check_document(document, found)
        check_installed(document, self.installed, found)
        resolved = self._state_class()
        if self.inherited is None:
            self.fields = read_fields(document, resolved, found)
        fields = self.fields
        unknown = bool(document.state_class) and resolved is None
        open_state = unknown or bool(resolved and resolved.schema.get("additionalProperties"))
        own, warnings = load_packs(document.governance, self.installed, found)
        packs = self.packs = (*own, *(pack for pack in self.packs if pack.id not in {one.id for one in own}))
        policy = policy_of(packs)
        ground = self._ground(fields, open_state)
        ruled = read_packs(packs, document.governance, self.installed, ground, found)
        ground = msgspec.structs.replace(ground, facts={**ruled.own, **ground.facts})
        retry = Retry(policy.retry_limit, policy.retry_factor, policy.retry_factor) if policy.retry_limit else None
        class_of = (resolved.fingerprint, resolved.folder) if resolved is not None else ("", "")
        scene = Scene(ground, self.installed, found, self._child, document.state_class, retry, class_of)
        made = [make_node(entry, at("/nodes", place), scene) for place, entry in enumerate(document.nodes)]
        rules = [self._rule(rule, at("/rules", place), ground) for place, rule in enumerate(document.rules)]
        blocks = [read_block(block, at("/parallel", place), ground, found) for place, block in enumerate(document.parallel)]
        self._check_blocks(blocks, rules, made)
        flow = Flow(
            order=tuple(entry.id for entry in document.nodes),
            rules=tuple(rules),
            blocks=tuple(blocks),
            fields=fields,
            open_state=open_state,
            budgets=self._budgets(),
            packs=ruled.packs,
            once=tuple(one.node.name for one in made if _WORST[one.effects] >= _WORST["write"]) if packs else (),
        )
        return None if found.count else self._compiled(flow, made, packs, policy, (resolved, warnings))

    def _state_class(self) -> StateClass | None:
        path, resolve = self.document.state_class, self.installed.state_class
        if not path or resolve is None:
            return None
        given = asked_of(resolve, path, path="/state_class", found=self.found)
        return given if isinstance(given, StateClass) else None

    def _ground(self, fields: tuple[Field, ...], open_state: bool) -> Ground:
        facts: dict[str, tuple[str, ...]] = {}
        asks: list[Any] = [node.config for node in self.document.nodes if node.kind == "interrupt"]
        for rule in self.document.rules:
            for then in rule.then:
                told = asserted(then)
                if told:
                    facts[told[0]] = tuple(dict.fromkeys((*facts.get(told[0], ()), *told[1])))
                elif then.get("kind") == "interrupt":
                    asks.append(then)
        nodes = {node.id: place for place, node in enumerate(self.document.nodes) if node.id}
        return Ground(nodes, {field.name: field for field in fields}, facts, _answer_keys(asks), open_state)

    def _rule(self, rule: RuleEntry, path: str, ground: Ground) -> FlowRule:
        before = self.found.count
        when = read_when(rule.when, at(path, "when"), ground, self.found)
        if when.clips and not self.installed.clips:
            hint = 'pip install "astrarium[clips]", or write a mapping or CEL'
            said = "raw patterns need the rule engine CLIPS, which is not installed"
            self.found.add(at(path, "when"), said, expected="the extra `clips`", actual=rule.when, hint=hint)
        elif when.clips and self.installed.pattern is not None and self.found.count == before:
            for problem in self.installed.pattern(when.clips):
                self.found.add(at(path, "when"), problem.message, expected="CLIPS patterns", actual=rule.when, hint=problem.hint)
        if when.salience is not None and rule.salience:
            said = "the pattern declares a salience too"
            self.found.add(at(path, "salience"), said, expected="one of them", actual=rule.salience)
        actions = [read_action(then, at(path, "then", place), ground, self.found) for place, then in enumerate(rule.then)]
        return FlowRule(
            id=rule.id,
            then=tuple(action for action in actions if action is not None),
            node=when.node,
            tests=when.tests,
            cel=when.cel,
            uses=when.uses,
            clips=when.clips,
            salience=rule.salience if when.salience is None else when.salience,
            caught=when.caught,
        )

    def _check_blocks(self, blocks: list[Parallel], rules: list[FlowRule], made: list[Made]) -> None:
        """Branches that are cut off must not have changed the world, and a static block begins at a node of its own."""
        by_id = dict(zip((entry.id for entry in self.document.nodes), zip(self.document.nodes, made, strict=True), strict=True))
        first: dict[str, int] = {}
        for place, block in enumerate(blocks):
            head = block.targets[0] if block.targets else ""
            if head and head in first:
                said = f"two blocks begin at `{head}`"
                self.found.add(at("/parallel", place, "targets", 0), said, expected="another first target", actual=head)
            first.setdefault(head, place)
        placed = [(at("/parallel", place), block) for place, block in enumerate(blocks)]
        for place, rule in enumerate(rules):
            placed += [
                (at("/rules", place, "then", number), action)
                for number, action in enumerate(rule.then)
                if isinstance(action, Parallel)
            ]
        for path, block in placed:
            for number, target in enumerate(block.targets):
                entry, one = by_id.get(target, (None, None))
                if block.strategy not in ("race", "any") or entry is None or one is None or entry.allow_unsafe_cancel:
                    continue
                if _WORST[one.effects] >= _WORST["write"]:
                    said = f"`{target}` changes the world ({one.effects}) and may be cut off by `{block.strategy}`"
                    hint = "use strategy all, or give the node `allow_unsafe_cancel: true`"
                    self.found.add(
                        at(path, "targets", number), said, expected="branches without effects", actual=target, hint=hint
                    )

    def _budgets(self) -> dict[str, Budget]:
        """By node; the run's own time is the graph's time-out."""
        whole = self.document.budget
        runs = {"": Budget(whole.tokens, whole.cost or 0.0)} if whole and (whole.tokens or whole.cost) else {}
        return runs | {entry.id: budget for entry in self.document.nodes if (budget := budget_of(entry))}

    def _child(self, entry: NodeEntry, max_steps: int, path: str) -> ChildGraph | None:
        """Compile the document a `subgraph` runs. What is wrong in it is told with its own places."""
        found, load = self.found, self.load
        if self.installed.child is None:
            found.add(path, "child graphs cannot be read here", actual=entry.spec, hint="load the graph from a file")
            return None
        given = asked_of(self.installed.child, entry.spec, found.report.file, path=path, found=found)
        if not isinstance(given, Child):
            return None
        load.count += 1
        limit = ""
        if given.key in self.above:
            limit = f"the graph `{entry.spec}` lies in itself"
        elif len(self.above) >= MAX_DEPTH:
            limit = f"graphs lie in one another deeper than {MAX_DEPTH} levels"
        elif load.count > MAX_CHILDREN:
            limit = f"more than {MAX_CHILDREN} child graphs"
        if limit:
            found.add(path, limit, expected="another graph", actual=entry.spec)
            return None
        below, around = Findings(given.file), load.installed
        load.installed = around._replace(code=given.code or around.code, state_class=given.state_class or around.state_class)
        try:
            child = _finish(read_tree(given.text, below), below, load, (*self.above, given.key), self.fields, self.packs)
        except Invalid as error:
            found.add(path, f"the child graph `{entry.spec}` does not load", actual=entry.spec)
            found.adopt(error.problems)
            return None
        finally:
            load.installed = around
        return self._keep(entry.id, child, max_steps, given.folder)

    def _keep(self, node_id: str, child: Compiled, max_steps: int, folder: str) -> ChildGraph:
        graph = msgspec.structs.replace(child.graph, max_steps=max_steps or child.graph.max_steps, base_dir=folder)
        stored = stored_hash(encode_graph(graph))
        self.children |= {**child.children, stored: graph}
        self.child_hashes[node_id] = stored
        flow = graph.flow or Flow()
        shared = not child.document.rules
        return ChildGraph(child.id, child.hash, stored, flow.fields, shared, child.effects, child.permissions)

    def _compiled(
        self, flow: Flow, made: list[Made], packs: tuple[Pack, ...], policy: Policy, extra: tuple[StateClass | None, list[str]]
    ) -> Compiled:
        document = self.document
        resolved, warnings = extra
        code = {one.node.name: one.code for one in made if one.code}
        if resolved is not None and resolved.fingerprint:
            code["/state_class"] = resolved.fingerprint
        hash_ = document_hash(
            document,
            state=msgspec.to_builtins(flow.fields),
            code=code,
            children={one.node.name: one.child.hash for one in made if one.child},
            packs=[f"{pack.id}@{pack.version}#{pack.tree_hash}" for pack in packs],
        )
        stores = [f"db.{store.name}:{verb}" for store in document.stores for verb in ("read", "write")]
        permissions = tuple(dict.fromkeys([*(word for one in made for word in one.permissions), *stores]))
        meta = _meta(document, hash_, policy, permissions)
        graph = Graph(
            name=document.id,
            dialect=DIALECT,
            router="rules",
            nodes=tuple(one.node for one in made),
            doors=_DOORS,
            max_steps=document.max_steps,
            max_active_runs=document.concurrency_limit,
            timeout_s=document.budget.latency_ms / 1000 if document.budget else 0.0,
            locals=self.child_hashes,
            meta={DIALECT: meta},
            flow=flow,
        )
        worst: Effects = max((one.effects for one in made), key=_WORST.__getitem__, default="none")
        return Compiled(document.id, hash_, graph, document, self.children, policy, worst, permissions, tuple(warnings))


def _answer_keys(asks: list[Any]) -> frozenset[str] | None:
    """The keys that answers to these questions may have; None when one of them may have any."""
    keys: set[str] = set()
    for ask in asks:
        payload = ask.get("interrupt_payload")
        schema = payload.get("response_schema") if isinstance(payload, dict) else None
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(properties, dict):
            return None
        keys |= properties.keys()
    return frozenset(keys)


def _meta(document: Document, hash_: str, policy: Policy, permissions: tuple[str, ...]) -> dict[str, Any]:
    """What the router does not read: for the surface, views and steps."""
    plain = msgspec.to_builtins(document)
    kept = ("tools", "skills", "stores", "migrate", "checkpoints", "lm")
    meta: dict[str, Any] = {
        "id": document.id,
        "hash": hash_,
        "state_class": document.state_class,
        "permissions": list(permissions),
        "policy": msgspec.to_builtins(policy),
        "owners": {rule.id: rule.node_id for rule in document.rules if rule.node_id},
        **{name: plain[name] for name in kept if name in plain},
    }
    kept_values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(meta))
    return {name: value for name, value in kept_values.items() if value}
