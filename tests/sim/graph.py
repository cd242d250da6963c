"""Random graphs of both routers: chains, fans, diamonds, loops, with every policy a node can have."""

from __future__ import annotations

from random import Random

from astrarium.spec.graph import Condition, Edge, Graph, Node, Prepare, Repeat, Retry, Rule, Tolerate
from astrarium.spec.ir import flow as f

HANDLERS = ("init", "on_success", "on_failure", "on_cancel", "on_wait", "exit")


def body(random: Random, name: str, *, leaf: bool = False, children: tuple[str, ...] = (), field: str = "") -> Node:
    """A node of the main phase with a random body and random policies."""
    dice = random.random()
    if dice < 0.12 and not leaf:
        params = {"needed": random.choice((1, 1, 2)), "timeout_s": random.choice((0.0, 0.0, 20.0))}
        return Node(name, "ask", params=params)
    if dice < 0.22 and children:
        params = {"name": random.choice(children), "count": random.randint(1, 4), "most": random.choice((0, 1, 2))}
        return Node(name, "children", params=params, retry=retry(random, 0.3), tolerate=tolerate(random, 0.2))
    if dice < 0.4:
        return Node(name, "instant", params={"fail": random.choice((0, 0, 10)), "field": field})
    params = {
        "fail": random.choice((0, 0, 20, 50)), "breaks": random.choice((0, 0, 0, 5)), "skip": random.choice((0, 0, 10)),
        "most_s": random.choice((0.0, 0.1, 2.0, 30.0)), "field": field,
    }  # fmt: skip
    repeat = None
    if random.random() < 0.12:
        repeat = Repeat(random.choice(("while", "until")), interval_s=random.choice((0.0, 3.0)), limit=random.randint(2, 3))
    when = ()
    if random.random() < 0.08:
        when = (Condition("yes", expected=random.choice(("yes", "no"))),)
    return Node(
        name, random.choice(("work", "work", "safe", "free")), params=params, when=when, repeat=repeat,
        retry=retry(random, 0.35), tolerate=tolerate(random, 0.2), timeout_s=random.choice((0.0, 0.0, 0.0, 5.0)),
    )  # fmt: skip


def retry(random: Random, chance: float) -> Retry | None:
    if random.random() > chance:
        return None
    codes = random.choice(((), (), (1,)))
    return Retry(random.randint(1, 3), random.choice((0.0, 1.0, 10.0)), backoff=random.choice((0.0, 2.0)), exit_codes=codes)


def tolerate(random: Random, chance: float) -> Tolerate | None:
    if random.random() > chance:
        return None
    return Tolerate(failure=random.random() < 0.7, skipped=random.random() < 0.5, mark_success=random.random() < 0.3)


def edges(random: Random, count: int) -> tuple[Edge, ...]:
    shape = random.choice(("chain", "fan", "diamond", "free", "free"))
    if shape == "chain":
        return tuple(Edge(n, n + 1) for n in range(count - 1))
    if shape == "fan":
        return tuple(Edge(0, n) for n in range(1, count))
    if shape == "diamond" and count > 2:
        inner = range(1, count - 1)
        return (*(Edge(0, n) for n in inner), *(Edge(n, count - 1) for n in inner))
    found = []
    for target in range(1, count):
        for source in random.sample(range(target), min(target, random.randint(0, 2))):
            found.append(Edge(source, target, random.choice(("success", "success", "success", "always"))))
    return tuple(found)


def depends_graph(random: Random, name: str, *, leaf: bool = False, children: tuple[str, ...] = ()) -> Graph:
    count = random.randint(1, 3 if leaf else 7)
    nodes = [body(random, f"n{n}", leaf=leaf, children=children) for n in range(count)]
    for phase in HANDLERS:
        if random.random() < 0.15:
            work = {"fail": random.choice((0, 20)), "most_s": random.choice((0.0, 2.0))}
            nodes.append(Node(phase, "work", params=work, phase=phase))  # type: ignore[arg-type]
    return Graph(
        name, nodes=tuple(nodes), edges=edges(random, count),
        prepare=Prepare() if random.random() < 0.4 else None,
        max_active_steps=random.choice((0, 0, 1, 2)), timeout_s=random.choice((0.0, 0.0, 0.0, 40.0)),
        delay_s=random.choice((0.0, 0.0, 0.0, 1.0)),
    )  # fmt: skip


def rules_graph(random: Random, name: str, *, children: tuple[str, ...] = ()) -> Graph:
    """Goes round until the document says stop, or `max_steps`."""
    count = random.randint(2, 4)
    nodes = tuple(body(random, f"n{n}", children=children, field="x") for n in range(count))
    rules = []
    for n in range(count):
        rules.append(Rule(f"n{n}", {"x": random.randrange(3)}, f"n{random.randrange(count)}"))
        if random.random() < 0.4:
            rules.append(Rule(f"n{n}", {"$outcome": "failed"}, random.choice((f"n{n}", "")), "failed"))
        if n + 1 < count:
            rules.append(Rule(f"n{n}", {}, f"n{n + 1}"))
    return Graph(
        name, dialect="rules", router="rules", nodes=nodes, rules=tuple(rules), start="n0", max_steps=random.randint(4, 12),
        timeout_s=random.choice((0.0, 0.0, 60.0)), prepare=Prepare() if random.random() < 0.3 else None,
    )  # fmt: skip


def flow_graph(random: Random, name: str, *, children: tuple[str, ...] = ()) -> Graph:
    """Falls through, jumps, fans out, asks, tries again: whatever rules may do."""
    count = random.randint(3, 6)
    names = [f"n{n}" for n in range(count)]
    nodes = tuple(body(random, one, children=children, field="x" if random.random() < 0.7 else "") for one in names)
    fields = (f.Field("x", "int", reducer=random.choice(("", "max", "sum"))),)
    rules = tuple(
        f.FlowRule(
            f"r{n}", (action(random, names),), random.choice(names), (f.Test("x", "eq", random.randrange(3)),),
            salience=random.randrange(2), caught=random.random() < 0.3,
        )
        for n in range(random.randint(0, 5))
    )  # fmt: skip
    blocks = (fan(random, names),) if random.random() < 0.5 else ()
    flow = f.Flow("", tuple(names), rules, blocks, fields)
    return Graph(
        name, dialect="graph", router="rules", nodes=nodes, flow=flow, max_steps=random.randint(4, 12),
        timeout_s=random.choice((0.0, 0.0, 60.0)), max_active_steps=random.choice((0, 0, 1)),
    )  # fmt: skip


def fan(random: Random, names: list[str]) -> f.Parallel:
    targets = tuple(random.sample(names, random.randint(2, 3)))
    strategy = random.choice(("all", "any", "race", "quorum"))
    return f.Parallel(targets, random.choice(("", *names)), strategy, 2, random.choice((0.0, 3.0)))


def action(random: Random, names: list[str]) -> f.Action:
    return random.choice((
        f.Goto(random.choice(names)), f.Halt("so"), fan(random, names), f.Revisit(random.choice(names), random.choice((0.0, 5.0)), 2),
        f.Interrupt("sure?", timeout_s=random.choice((0.0, 10.0)), on_timeout=random.choice(("", names[0]))),
        f.Assert("turn", {"value": 1}),
    ))  # fmt: skip


def some_graphs(random: Random) -> dict[str, Graph]:
    """The definitions of a world. Leaves may be children, `middle` has children and is one."""
    leaves = [depends_graph(random, f"leaf{n}", leaf=True) for n in range(2)]
    names = tuple(graph.name for graph in leaves)
    middle = depends_graph(random, "middle", children=names)
    tops = [depends_graph(random, f"top{n}", children=(*names, "middle")) for n in range(3)]
    rules = [rules_graph(random, f"rule{n}", children=names) for n in range(2)]
    flows = [flow_graph(random, f"flow{n}", children=names) for n in range(2)]
    return {graph.name: graph for graph in (*leaves, middle, *tops, *rules, *flows)}
