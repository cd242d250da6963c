"""Runs of graphs as people read them: a line a step, what a step changed, where two runs part."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..runs.past.read import Checkpoint
from ..surfaces.graphs.views.run import masked
from .screen import STYLES, at_terminal, clock

MARKS = {"succeeded": "✓", "skipped": "-", "cancelled": "∅", "aborted": "∅", "": "…"}
WORDS = {"done": "succeeded", "error": "broken", "failed": "failed", "cancelled": "cancelled", "awaiting-input": "waiting"}
"""Statuses as the wire has them → how they are coloured."""
MOST_VALUE = 60
NOTHING = object()


Part = tuple[str, str] | str


def say(*parts: Part) -> None:
    """Print one line; parts are texts, or texts with a style that a terminal shows."""
    plain = [(part, "") if isinstance(part, str) else part for part in parts]
    if not at_terminal():
        print("".join(text for text, _ in plain))
    else:
        text = importlib.import_module("rich.text").Text.assemble(*plain)
        importlib.import_module("rich.console").Console(highlight=False).print(text, soft_wrap=True)
    sys.stdout.flush()


def short(value: Any, most: int = MOST_VALUE) -> str:
    """A value on one line."""
    if value is NOTHING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else text[: most - 1] + "…"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Fields that differ: (name, value before, value after)."""
    names = dict.fromkeys((*before, *after))
    pairs = ((name, before.get(name, NOTHING), after.get(name, NOTHING)) for name in names)
    return [(name, old, new) for name, old, new in pairs if old is NOTHING or new is NOTHING or old != new]


def show_changes(before: Mapping[str, Any], after: Mapping[str, Any], indent: str = "") -> None:
    for name, old, new in changes(before, after):
        say(f"{indent}{name}: ", (short(old), "dim"), " → ", (short(new), "bold"))


def step_line(place: int, name: str, outcome: str, took: str, tail: str = "", error: str = "") -> None:
    mark = MARKS.get(outcome, "✗")
    word = "" if outcome in ("succeeded", "") else f" {outcome}"
    said = f"  {masked(' '.join(error.split()))}" if error else ""
    say(
        f"[{place:02}] {name} ",
        (f"{mark}{word}", STYLES.get(outcome, "")),
        (f" {took}" if took else "", "dim"),
        tail,
        (said, "red"),
    )


def decision_of(one: Checkpoint, names: Sequence[str]) -> str:
    """What the rules made of a step."""
    chose = one.chose
    if chose is None:
        return ""
    to = names[chose.target] if chose.target >= 0 else ""
    by = f" (rule {chose.rule})" if chose.rule else ""
    reason = f": {chose.reason}" if chose.reason else ""
    shown = {"continue": "", "end": ""}.get(chose.kind, chose.kind)
    return f"  → {' '.join(part for part in (shown, to) if part)}{reason}{by}" if shown or by else ""


def show_timeline(found: Sequence[Checkpoint], names: Sequence[str], began_at: int) -> None:
    """Every step: its place, what became of it, what was decided, what it changed."""
    trunk: Mapping[str, Any] = {}
    last, joined = began_at, False
    for place, one in enumerate(found):
        name = f"{one.node}/{one.branch}" if one.branch else one.node
        took = f"+{max(0, one.at - last) / 1000:.0f} ms" if last else ""
        told = "" if one.chose is not None and one.error == one.chose.reason else one.error
        step_line(one.place, name, one.outcome, took, decision_of(one, names), told)
        # What branches changed together is seen after they have become one way again.
        after = one.state if joined and not one.branch else one.patch or {}
        for key, value in after.items():
            old = trunk.get(key, NOTHING)
            if old is not NOTHING and old == value:
                continue
            was: list[Part] = [(short(old), "dim"), " → "] if place and old is not NOTHING else []
            say(f"       {key}: ", *was, (short(value), "bold"))
        last, joined = one.at, bool(one.branch)
        trunk = trunk if one.branch else one.state


def show_head(summary: Mapping[str, Any]) -> None:
    status = str(summary["status"])
    parts: list[Part] = [f"{summary['run_id']}  {summary['graph_id']}  ", (status, STYLES.get(WORDS.get(status, ""), ""))]
    if summary.get("duration_ms") is not None:
        parts.append((f"  {summary['duration_ms']} ms", "dim"))
    say(*parts)
    facts = {
        "started": clock(summary.get("started_at")),
        "attempt": summary["attempt"] if summary.get("attempt", 1) > 1 else "",
        "forked from": summary.get("parent_run_id"),
        "because": summary.get("reason"),
        "error": f"{summary['error_class']}: {summary.get('error_cause')}" if summary.get("error_class") else "",
    }
    for name, value in facts.items():
        if value:
            say((f"  {name}: {value}", "dim"))


def show_prompt(awaiting: Mapping[str, Any], run_id: str) -> None:
    """What a waiting run asks, and how to answer."""
    say(("asks: ", "magenta"), (str(awaiting["prompt"]), "bold"))
    payload = awaiting.get("interrupt_payload") or {}
    for name, value in payload.items():
        if name != "response_schema":
            say(f"  {name}: {short(value, 200)}")
    wanted = keys_of(payload)
    if awaiting.get("until"):
        say((f"  until {clock(awaiting['until'])}", "dim"))
    words = " ".join(f"-r {name}=…" for name in wanted) or "-r answer=…"
    say((f"  answer: astrarium graph respond {run_id} {words}", "dim"))


def keys_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The keys an answer is to have, with the schema of each."""
    schema = payload.get("response_schema")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return dict(properties) if isinstance(properties, Mapping) else {}


def show_operations(ops: Iterable[Mapping[str, Any]], indent: str = "  ") -> None:
    """A JSON patch, a line each."""
    signs = {"add": "+", "remove": "-", "replace": "~"}
    for op in ops:
        value = "" if op["op"] == "remove" else f" = {short(op.get('value'))}"
        say(f"{indent}{signs.get(str(op['op']), '?')} {op['path']}{value}")


def show_difference(found: Mapping[str, Any]) -> None:
    """Where two runs part, and what they came to."""
    one, other = found["original_run_id"], found["counterfactual_run_id"]
    for name, route in zip((one, other), (found["routes"]["orig"], found["routes"]["cf"]), strict=True):
        say((f"{name}: ", "dim"), " → ".join(route) or "nothing")
    if not found["steps"] and not found["final_state_diff"] and not found["final_status_diff"]:
        say(("no difference", "green"))
        return
    for step in found["steps"]:
        branch = f"/{step['branch_id']}" if step.get("branch_id") else ""
        node = step.get("node_diff")
        nodes = f"  {node['orig'] or 'nothing'} | {node['cf'] or 'nothing'}" if node else ""
        edge = step.get("edge_diff")
        went = f"  goes to {', '.join(edge['orig'])} | {', '.join(edge['cf'])}" if edge else ""
        say(f"[{step['step']:02}]{branch} ", (str(step["diverged_at"]).replace("_", " "), "yellow"), nodes, went)
        show_operations(step["state_diff"], "       ")
        output = step.get("output_diff")
        if output and not step["state_diff"] and not node:
            say("       output: ", (short(output["orig"], 120), "dim"), " | ", (short(output["cf"], 120), "bold"))
        show_effects(step.get("side_effect_diff"))
    if found["final_state_diff"]:
        say("at the end:")
        show_operations(found["final_state_diff"])
    if found["final_status_diff"]:
        say("status: ", " | ".join(found["final_status_diff"]))


def show_effects(pair: Mapping[str, Any] | None) -> None:
    """The calls of tools one made and the other did not, or that came back with something else."""
    if not pair:
        return
    made = [pair["orig"] or [], pair["cf"] or []]
    for sign, effects, others in (("-", made[0], made[1]), ("+", made[1], made[0])):
        for one in effects:
            if one not in others:
                came = "never came back" if one.get("ok") is None else short(one.get("result")) if one["ok"] else one.get("error", "")
                arguments = ", ".join(f"{name}={short(value, 40)}" for name, value in (one.get("args") or {}).items())
                say(f"       {sign} {one['tool']}({arguments}) = {came}")
