"""The build registry's newest protocol over HTTP: a plan of 1,000 members, each started and completed at 32 connections."""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvloop

from .builds import CONNECTIONS, Call, Connection, connect, drive
from .report import Figure, commit_ms, figure
from .server import Server

MEMBERS = 1000
NEEDED = 100
LEAST = 1500.0
"""Pairs of start and complete a second."""


class PlanConnection(Connection):
    prefix = "/api/v2"


def item(round_: str, number: int, *, root: bool = False) -> dict[str, Any]:
    """A task that needs nothing; the root needs the last of them."""
    needs = range(number - NEEDED, number) if root else ()
    name = f"{round_}-{number}"
    return {
        "task_id": name, "task_name": f"task-{number % 10}", "task_namespace": "bench.plans", "version": "", "instance_hash": f"i-{name}",
        "output_uri": f"/data/roots/{name}.json", "body": {"limit": number, "name": name, "values": {"tags": ["a", "b"]}},
        "declared_upstreams": [f"i-{round_}-{one}" for one in needs], "observed_at": datetime.now(UTC).isoformat(),
    }  # fmt: skip


async def sample(server: Server) -> dict[str, float]:
    """Members a second, milliseconds of a frontier and a graph, pairs a second."""
    connection = await connect(server, PlanConnection)

    async def ask(method: str, path: str, body: Any = None) -> Any:
        return json.loads(await connection.ask(method, path, b"" if body is None else json.dumps(body).encode()))

    round_ = uuid4().hex[:8]
    items = [item(round_, number, root=number == MEMBERS - 1) for number in range(MEMBERS)]
    root = items[-1] | {"declared_upstreams": None}
    deployment = (await ask("POST", "/deployments", {"kind": "local", "code_id": "bench"}))["id"]
    build = (await ask("POST", "/builds", {"root_task_ids": [root["task_id"]]}))["id"]
    new = {"plan_id": str(uuid4()), "deployment_id": deployment, "settings": {}, "roots": [root]}
    plan = (await ask("POST", f"/builds/{build}/plans", new))["id"]
    body = json.dumps({"items": items}).encode()
    took: dict[str, float] = {}

    async def timed(name: str, method: str, path: str, data: bytes = b"") -> None:
        began = time.perf_counter()
        await connection.ask(method, path, data)
        took[name] = (time.perf_counter() - began) * 1000

    await timed("members", "POST", f"/plans/{plan}/members", body)
    await timed("again", "POST", f"/plans/{plan}/members", body)
    await timed("seal", "POST", f"/plans/{plan}/seal")
    await timed("frontier", "GET", f"/builds/{build}/frontier")
    took["pairs"] = (MEMBERS - 1) / await drive(server, [pair(plan, one["task_id"]) for one in items[:-1]], PlanConnection)
    await drive(server, [pair(plan, root["task_id"])], PlanConnection)
    await timed("graph", "GET", f"/plans/{plan}/graph")
    await ask("POST", f"/builds/{build}/complete", {"force": False})
    connection.close()
    return took


def pair(plan: str, task: str) -> list[Call]:
    execution = str(uuid4())
    start = {
        "execution_id": execution,
        "claim": True,
        "claim_ttl_seconds": 120,
        "executor": "sequential",
        "executor_ref": "host:1",
    }
    path = f"/plans/{plan}/members/{task}"
    return [
        ("POST", f"{path}/start", json.dumps(start).encode()),
        ("POST", f"{path}/complete", json.dumps({"execution_id": execution}).encode()),
    ]


def measure(folder: Path, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="plans-") as place, Server(Path(place)) as server:
        taken = [uvloop.run(sample(server)) for _ in range(2 if quick else 5)]
    notes = {"connections": CONNECTIONS, "members": MEMBERS, "commit_ms": commit_ms(folder)}
    told = {
        "members": "plans: 1000 members registered", "again": "plans: 1000 members told again", "seal": "plans: sealing 1000 members",
        "frontier": "plans: frontier of 1000", "graph": "plans: graph of 1000",
    }  # fmt: skip
    made = [figure(what, "ms", [one[name] for one in taken], notes=notes) for name, what in told.items()]
    return [figure("plans: start and complete", "pairs per s", [one["pairs"] for one in taken], least=LEAST, notes=notes), *made]
