"""A server with one of each thing a route may name, and callers who may not touch them.

Whoever adds a route whose path names a new kind of thing adds one line to `Home.nouns`; the tests need nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.routing import BaseRoute, Route, WebSocketRoute

from astrarium.kernel.types import Scope
from astrarium.spec.ids import uuid7
from astrarium.surfaces.builds.views.text import moment
from astrarium.surfaces.operation import Operation, operations_of
from astrarium.surfaces.tenancy.role import EVERY_ROLE, capabilities_of
from astrarium.surfaces.tenancy.token import Session
from astrarium.surfaces.tenancy.workspace.body import known_id
from tests.specs.tenancy.conftest import PASSWORD, Server

DAGS = {
    "hidden": "notify: [{webhook: 'http://127.0.0.1:9/', on: [success]}]\nsteps:\n  - name: call\n    call: hidden-child\n",
    "hidden-child": "steps:\n  - name: say\n    command: echo said\n",
}
RUN = "hidden-run"
DEADLINE_S = 30.0
TASK = {"task_id": str(uuid4()), "task_namespace": "hidden", "task_name": "Hidden", "task_data": {}}
BODIES = {"registerTask": TASK}
"""Bodies whose schema says less than is checked."""
QUERY = {"follow": "false", "key": "task_name"}
"""Query parameters a request cannot do without, or never ends without."""
PARAM = re.compile(r"(?:([\w-]+)/)?\{(\w+)(?::\w+)?\}")
NOBODY = "nobody"
"""A role that may do nothing."""


class Noun:
    """One thing there is, and what looks like one and is none."""

    def __init__(self, there: str, absent: str = "") -> None:
        self.there = there
        self.absent = absent or str(uuid4())


GRAPHS = {
    "run_id": Noun(RUN, "absent-run"), "against": Noun(RUN, "absent-run"), "step": Noun("987654", "987655"),
    "artifact_id": Noun("ab12" * 8, "ab34" * 8), "kind": Noun("skills", "spoons"),
}  # fmt: skip
"""A run of a DAG resolves among those of graphs, too."""


class Home(Server):
    """`settle` makes one of each; then it is asked as anybody."""

    def settle(self) -> None:
        self.admin = self.login("admin")
        self.client.get("/api/v1/.well-known/jwks.json")  # the server's own keys are made when somebody wants them first
        self.eve = self.user(self.admin, "eve")
        self.eves, place = self.team(self.eve, "eves")
        self.stranger = self.odd_key("owner", Scope(self.eves.rpartition("/")[2], place.rpartition("/")[2]))
        self.nouns = {**GRAPHS, **self._workspace(), **self._dags(), **self._accounts(), **self._builds()}

    # -- one of each ----------------------------------------------------------------------------------------------------

    def _workspace(self) -> dict[str, Noun]:
        anna = self.user(self.admin, "anna")
        path, place = self.team(anna, "annas")
        self.annas = Scope(known_id(path.rpartition("/")[2]), known_id(place.rpartition("/")[2]))
        key = self.call("POST", place + "/api-keys", {"name": "ci"}, anna, 201)
        root = self.call("POST", place + "/target-roots", {"name": "r", "uri_prefix": "s3://r"}, anna, 201)
        invite = self.call("POST", path + "/invites", {"email": "ben@example.org"}, anna, 201)
        member = self.call("GET", path + "/members", token=anna)[0]["id"]
        return {
            "workspace_id": Noun(self.annas.workspace), "environment_id": Noun(self.annas.environment), "key_id": Noun(key["id"]),
            "root_id": Noun(root["id"]), "invite_id": Noun(invite["id"]), "member_id": Noun(member),
        }  # fmt: skip

    def _dags(self) -> dict[str, Noun]:
        for name, text in DAGS.items():
            self.call("POST", "/v2/dags", {"name": name, "spec": text}, self.admin, 201)
        self.call("POST", "/v2/dags/hidden/start", {"dagRunId": RUN}, self.admin)
        self.call("POST", "/v2/dags/hidden/webhook", {}, self.admin, 201)
        delivered = self.until(lambda: self.call("GET", "/v2/notifications", token=self.admin)["notifications"])
        path = f"/v2/dag-runs/hidden/{RUN}/sub-dag-runs"
        child = self.call("GET", path, token=self.admin)["subRuns"][0]["dagRunId"]
        return {
            "fileName": Noun("hidden", "absent"), "dag-runs/name": Noun("hidden", "absent"), "dagRunId": Noun(RUN, "absent-run"),
            "stepName": Noun("call", "absent"), "subDAGRunId": Noun(child), "notificationId": Noun(delivered[0]["id"]),
        }  # fmt: skip

    def _accounts(self) -> dict[str, Noun]:
        made = self.call("POST", "/v2/api-keys", {"name": "ci", "role": "viewer"}, self.admin, 201)
        users = self.call("GET", "/v2/users", token=self.admin)["users"]
        return {
            "userId": Noun(next(one["id"] for one in users if one["username"] == "admin")),
            "keyId": Noun(made["apiKey"]["id"]),
        }

    def _builds(self) -> dict[str, Noun]:
        key = self.odd_key("operator", self.annas)
        build, plan, execution, task = (uuid7() for _ in range(4))
        item = {
            "task_id": task, "task_name": "Hidden", "instance_hash": str(uuid4()), "body": {}, "declared_upstreams": None,
            "observed_at": moment(time.time_ns() // 1000),
        }  # fmt: skip
        deployed = self.call("POST", "/v2/deployments", {"kind": "local", "code_id": "hidden"}, key)["id"]
        self.call("POST", "/v2/builds", {"id": build, "root_task_ids": [task]}, key)
        order = {"plan_id": plan, "deployment_id": deployed, "settings": {}, "roots": [item]}
        made = self.call("POST", f"/v2/builds/{build}/plans", order, key)
        self.call("POST", f"/v2/plans/{plan}/members", {"items": [{**item, "declared_upstreams": []}]}, key)
        self.call("POST", f"/v2/plans/{plan}/members/{task}/start", {"execution_id": execution}, key)
        self.call("PUT", "/v2/concurrency-limits/hidden-limit", {"max_concurrent": 3}, key)
        lock = {"owner_id": str(uuid4()), "ttl_seconds": 600}
        self.call("POST", "/locks/hidden-lock/acquire", lock, key)
        self.client.put(f"/api/v1/builds/{build}/tasks/{task}/files/hidden.txt", content=b"x", headers=bearer(key)).raise_for_status()
        return {
            "build_id": Noun(build), "task_id": Noun(task), "lock_name": Noun("hidden-lock", "absent-lock"), "plan_id": Noun(plan),
            "execution_id": Noun(execution), "deployment_id": Noun(deployed), "settings_hash": Noun(made["settings_hash"]),
            "files/name": Noun("hidden.txt", "absent.txt"), "concurrency-limits/key": Noun("hidden-limit", "absent-limit"),
        }  # fmt: skip

    def until(self, look: Callable[[], Any]) -> Any:
        end = time.monotonic() + DEADLINE_S
        while not (found := look()):
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.01)
        return found

    # -- credentials ----------------------------------------------------------------------------------------------------

    def bad_credentials(self) -> dict[str, dict[str, str]]:
        """What is no credential (any more), as headers."""
        _, place = self.team(self.eve, "eves-other")
        made = self.call("POST", place + "/api-keys", {"name": "x"}, self.eve, 201)
        self.call("DELETE", f"{place}/api-keys/{made['id']}", token=self.eve, status=204)
        live = self.stranger
        ring, now = self.app.state.tenancy.ring, self.app.state.worker.engine.clock.now()
        ended = ring.sign(Session(self.nouns["userId"].there, "personal", 0, now - 60_000_000, "ended"), now - 120_000_000)
        words = {
            "wrong key": live[:-1] + ("A" if live[-1] != "A" else "B"), "revoked key": made["key"], "malformed key": "sk_",
            "expired key": self.odd_key("admin", expires_at=1), "expired token": ended, "malformed token": "x.y.z",
        }  # fmt: skip
        return {"none": {}, "basic": {"authorization": "Basic eDp5"}} | {name: bearer(word) for name, word in words.items()}

    def lacking(self, needs: str) -> str:
        """The role that may do most without being allowed this."""
        return max((role for role in EVERY_ROLE if needs not in capabilities_of(role)), key=lambda role: len(capabilities_of(role)),
                   default=NOBODY)  # fmt: skip

    # -- asking ---------------------------------------------------------------------------------------------------------

    def noun(self, before: str, name: str) -> Noun:
        """What a path parameter may be: by the segment before it and its name, or by its name alone. KeyError where there is none."""
        return self.nouns.get(f"{before}/{name}") or self.nouns[name]

    def path(self, template: str, *, there: bool) -> str:
        def fill(match: re.Match[str]) -> str:
            noun = self.noun(match[1] or "", match[2])
            return (f"{match[1]}/" if match[1] else "") + (noun.there if there else noun.absent)

        return PARAM.sub(fill, template)

    def send(self, operation: Operation, template: str, headers: dict[str, str], *, there: bool = True) -> Any:
        """Ask for an operation, about what is there or about what is not; with a body that its schema allows."""
        told = described(self.document["paths"][PARAM_SHORT.sub(r"{\1}", template)][operation.method.lower()], self.document)
        if operation.id in BODIES:
            told = {"json": BODIES[operation.id]}
        query = {one.name: QUERY[one.name] for one in operation.query if one.name in QUERY}
        for one in operation.query:
            if one.name in ("environment_id", "workspace_id"):
                query[one.name] = getattr(self.nouns[one.name], "there" if there else "absent")
        headers = {**told.pop("headers", {}), **headers}
        return self.client.request(operation.method, self.path(template, there=there), params=query, headers=headers, **told)

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = self.app.openapi()
        return found

    def operations(self) -> list[tuple[str, Operation]]:
        """Every operation with the whole path it is served under."""
        return [(path, operation) for (_, path), operation in operations_of(self.app).items()]

    def sockets(self) -> list[str]:
        return [route.path for route in leaves(self.app.router.routes) if isinstance(route, WebSocketRoute)]

    # -- what is kept ---------------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """How many rows of each table there are, and which DAG files. What is recorded of denials, and notes that a key was used, do not
        count."""
        tables = [
            name for (name,) in self.sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        ]
        counts: dict[str, Any] = {
            name: self.sql(f"SELECT count(*) FROM {name}") for name in tables if name not in ("audit", "events")
        }
        counts["events"] = self.sql("SELECT count(*) FROM events WHERE stream NOT LIKE 'audit:%' AND type <> 'EntryTouched'")
        counts["files"] = sorted((str(path), path.read_text()) for path in (self.folder / "dags").rglob("*.yaml"))
        return counts

    def audited(self, *, but: str = "auth.denied") -> int:
        """Records of the audit log; that somebody was let in, which routes below `/v1` record, is told with a delay and does not count."""
        return int(self.sql(f"SELECT count(*) FROM audit WHERE act NOT IN ('{but}', 'auth.allowed')")[0][0])


PARAM_SHORT = re.compile(r"\{(\w+)(?::\w+)?\}")


def leaves(routes: list[BaseRoute]) -> list[BaseRoute]:
    """Routes, those of mounted applications and included routers too."""
    found: list[BaseRoute] = []
    for route in routes:
        below: list[BaseRoute] = getattr(route, "routes", None) or []
        found += leaves(below) if below else [route]
    return found


def plain_paths(app: Any) -> set[tuple[str, str]]:
    """Method and path of everything an application answers, whoever added it."""
    found = set()
    for route in leaves(app.router.routes):
        if isinstance(route, Route):
            found |= {(method, route.path) for method in (route.methods or ()) if method != "HEAD"}
    return found


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# -- bodies ------------------------------------------------------------------------------------------------------------


def described(told: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """A request's body as its schema wants one, as arguments of a client."""
    content = told.get("requestBody", {}).get("content", {})
    if not content:
        return {}
    if "application/json" in content:
        return {"json": sample(content["application/json"]["schema"], document)}
    return {"content": b"x", "headers": {"content-type": next(iter(content))}}


def sample(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """The least value a schema allows."""
    if "$ref" in schema:
        return sample(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return sample(next(one for one in schema[choice] if one.get("type") != "null"), document)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema.get("type") == "object":
        needed = schema.get("required", [])
        made = {name: sample(schema["properties"][name], document) for name in needed}
        return {name: str(uuid4()) if name.endswith("_id") and value == "sample" else value for name, value in made.items()}
    if schema.get("type") == "array":
        return [sample(schema["items"], document)] * schema.get("minItems", 0) if "items" in schema else []
    if schema.get("format") == "date-time":
        return "2030-01-01T00:00:00Z"
    plain: dict[str, Any] = {"string": "sample", "integer": schema.get("minimum", 1), "number": 1, "boolean": True}
    return plain.get(str(schema.get("type")), "sample")


def make_home(folder: Path) -> Home:
    return Home(folder, auth="builtin", admin_password=PASSWORD, notice_tries=1, metrics="private")
