"""Packs of one's own on a real server: mounted, enforced, pinned, signed, trusted (contract 1.6, point 23)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from astrarium.cli import graph_pack
from astrarium.cli.graph_file import load_entry
from astrarium.config import Settings

from .conftest import Server

pytest.importorskip("clips", reason="rules of packs need the extra `clips`")
Start = Callable[..., Server]
PASSWORD = "correct-horse-battery"

GRAPH = """ir_version: "1.1.0"
id: "graph:orders"
state_schema: {amount: {type: int, default: 0}, who: {type: str, default: ""}}
governance: [{id: acme.limits, version: "1.0"}, {id: stargraph.bosun.safety_pii}]
nodes:
  - {id: ask, kind: interrupt, config: {prompt: "how much?"}}
  - {id: send, kind: passthrough}
"""
RULES = """(deftemplate amount (slot value))
(deffunction above (?text ?limit) (> (string-to-field ?text) ?limit))
(defrule noted (node-id (id ?n)) => (assert (bosun.audit (kind acme.step) (detail ?n))))
(defrule too-much
  (amount (value ?v&:(above ?v LIMIT)))
  =>
  (assert (bosun.violation (kind limit) (severity halt) (reason (str-cat "an amount of " ?v)))))
(defrule much
  (amount (value ?v&:(above ?v 100)&:(not (above ?v LIMIT))))
  =>
  (assert (bosun.violation (kind near) (severity warn) (reason "near the limit"))))
"""


def manifest(version: str, more: str = "") -> str:
    return f'id: acme.limits\nversion: "{version}"\n{more}'


def files(limit: int = 1000, version: str = "1.0", place: str = "acme.limits", more: str = "") -> dict[str, str]:
    return {
        f"packs/{place}/manifest.yaml": manifest(version, more),
        f"packs/{place}/rules.clp": RULES.replace("LIMIT", str(limit)),
    }


def ordered(server: Server, answer: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    run = server.start("orders", inputs)
    server.status(run, "awaiting-input")
    server.post(run, "respond", {"response": answer})
    return server.ended(run)


def audited(server: Server, run: str) -> list[tuple[str, str, str]]:
    frames = [frame for frame in server.frames(run) if frame["type"] == "bosun_audit" and frame["pack_id"] != "stargraph.runtime"]
    assert all(set(frame["provenance"]) == {"origin", "source", "run_id", "step", "confidence", "timestamp"} for frame in frames)
    return [(frame["pack_id"], frame["pack_version"], frame["fact"]["kind"]) for frame in frames]


@pytest.fixture
def server(start_server: Start) -> Server:
    both = {**files(place="acme.limits/1.0"), **files(300, "2.0", "acme.limits/2.0")}
    return start_server(offered={"orders.yaml": GRAPH, **both}, forks_per_min=1000)


def test_rules_of_a_pack_act_over_http(server: Server) -> None:
    fine = ordered(server, {"amount": 5})
    assert fine["status"] == "done"
    assert audited(server, fine["run_id"]) == [("acme.limits", "1.0", "acme.step")] * 2
    warned = ordered(server, {"amount": 500})
    assert warned["status"] == "done"
    assert [kind for _, _, kind in audited(server, warned["run_id"])].count("near") == 1
    halted = ordered(server, {"amount": 5000})
    assert (halted["status"], halted["error_class"]) == ("failed", "pack_violation")
    assert halted["error_cause"] == "acme.limits: an amount of 5000"
    assert server.frames(halted["run_id"])[-2]["message"] == halted["error_cause"]
    assert server.post(halted["run_id"], "resume", status=202)
    assert server.ended(halted["run_id"])["error_class"] == "pack_violation", "it stands until the facts are others"


def test_another_version_is_pinned_for_a_counterfactual(server: Server) -> None:
    run = ordered(server, {"amount": 500})["run_id"]
    strict = server.ended(server.fork(run, 0, rule_pack_version="2.0"))
    assert (strict["status"], strict["error_class"]) == ("failed", "pack_violation")
    assert server.frames(strict["run_id"])[-2]["message"] == "acme.limits: an amount of 500"
    assert strict["graph_hash"] != server.run(run)["graph_hash"]
    assert {version for pack, version, _ in audited(server, strict["run_id"]) if pack == "acme.limits"} == {"2.0"}
    assert server.ended(server.fork(run, 0, rule_pack_version="1.0"))["status"] == "done"
    answer = server.call("POST", f"/v1/runs/{run}/counterfactual", {"step": 0, "mutation": {"rule_pack_version": "3.0"}})
    assert answer.status_code == 422 and "installed in version 3.0" in answer.text
    assert server.run(run)["status"] == "done", "the past is as it was"


def laid(name: str, pack: dict[str, str]) -> dict[str, str]:
    """A graph in a folder of its own, with its packs."""
    return {
        f"{name}/orders.yaml": GRAPH.replace("graph:orders", f"graph:{name}"),
        **{f"{name}/{path}": text for path, text in pack.items()},
    }


def test_the_hash_covers_the_rules_of_a_pack(tmp_path: Path) -> None:
    hashes = []
    for limit in (1000, 1001, 1000):
        for name, text in {"orders.yaml": GRAPH, **files(limit)}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        hashes.append(load_entry(tmp_path / "orders.yaml", Settings(data_dir=tmp_path / "data")).hash)
    assert hashes[0] == hashes[2] != hashes[1]


def test_what_people_must_not_say_is_kept_nowhere(start_server: Start) -> None:
    server = start_server(offered={"orders.yaml": GRAPH, **files()})
    answered = ordered(server, {"who": "078-05-1120"})
    begun = server.ended(server.start("orders", {"who": "4111 1111 1111 1111"}))
    for found, kind in ((answered, "ssn"), (begun, "card")):
        assert (found["status"], found["error_class"]) == ("failed", "pack_violation")
        told = [frame for frame in server.frames(found["run_id"]) if frame.get("pack_id") == "stargraph.bosun.safety_pii"]
        assert [(one["fact"]["kind"], one["fact"]["severity"]) for one in told] == [(kind, "halt")]
    assert server.signal() == 0
    kept = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    assert b"078-05-1120" not in kept and b"4111 1111" not in kept


BAD: dict[str, tuple[dict[str, str], str]] = {
    "reaching": (files() | {"packs/acme.limits/rules.clp": '(system "ls")'}, "is no construct of a pack"),
    "unknown": (files() | {"packs/acme.limits/rules.clp": "(defrule x (amoun) => )"}, "there are no facts `amoun`"),
    "refused": (
        files() | {"packs/acme.limits/rules.clp": "(defrule x (amount) => (assert (bosun.audit (kind))))"}, "CLIPS does not take"
    ),
    "version": (files(version="2.0"), "the pack `acme.limits` is installed in version 2.0"),
    "facts": (files(more='requires: {stargraph_facts_version: "2.0"}\n'), "it needs facts version 2.0, this is 1.0"),
    "api": (files(more='requires: {api_version: "9"}\n'), "it needs API version 9, this is 1"),
    "missing": ({}, "there is no pack `acme.limits` of version 1.0"),
    "other": ({"packs/acme.limits/manifest.yaml": 'id: other\nversion: "1.0"\n'}, "holds another one"),
}  # fmt: skip


def test_a_pack_that_cannot_be_mounted_is_told_when_the_graph_is_loaded(start_server: Start) -> None:
    offered = {path: text for name, (pack, _) in BAD.items() for path, text in laid(name, pack).items()}
    server = start_server(offered=offered)
    assert server.get("/v1/graphs") == []
    problems = server.get("/v1/graphs/problems")
    told = {one["file"]: str(one) for one in problems} if isinstance(problems, list) else {k: str(v) for k, v in problems.items()}
    for name, (_, said) in BAD.items():
        assert said in next(text for file, text in told.items() if file.startswith(name)), name


def signed(folder: Path) -> dict[str, str]:
    """A signed pack as the files beside a graph; it lies in `folder` too."""
    place = folder / "acme.limits"
    place.mkdir(exist_ok=True)
    for name, text in files().items():
        (place / name.rpartition("/")[2]).write_text(text)
    assert graph_pack.sign(place, folder / "k1.pem") == 0
    return {f"packs/acme.limits/{path.name}": path.read_text() for path in place.iterdir()}


@pytest.mark.all
def test_where_signatures_are_demanded_only_a_trusted_key_counts(
    start_server: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offered = {"orders.yaml": GRAPH, **signed(tmp_path)}
    key = tmp_path / "acme.limits" / "k1.pub.pem"

    def cleared(name: str, offered: dict[str, str], **more: Any) -> str:
        server = start_server(
            name, offered=offered, auth="builtin", admin_password=PASSWORD, server_profile="cleared", trusted_proxies="127.0.0.1",
            graphs=str(tmp_path / name / "graphs" / "orders.yaml"), **more,
        )  # fmt: skip
        assert server.process.stdout is not None
        told = server.said if server.client is not None else server.said + server.process.stdout.read()
        if server.client is not None:
            server.signal()
        return told

    assert "untrusted-key" in cleared("unknown", offered)
    assert graph_pack.trust(key, tmp_path / "known") == 0
    assert cleared("known", offered).startswith("http")
    print_ = capsys.readouterr().out.strip().rpartition(" ")[2]
    assert cleared("listed", offered, pack_keys=f"k1={print_}").startswith("http")
    assert "fingerprint-mismatch" in cleared("other", offered, pack_keys=f"k1={'0' * 64}")
    assert graph_pack.trust(key, tmp_path / "changed") == 0
    rules = "packs/acme.limits/rules.clp"
    assert "tree-hash-mismatch" in cleared("changed", {**offered, rules: offered[rules] + "\n; more"})


def test_a_key_is_trusted_from_its_first_use_on(start_server: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = start_server(offered={"orders.yaml": GRAPH, **signed(tmp_path)})
    assert (server.folder / "trusted_keys" / "k1.json").is_file()
    server.signal()
    (tmp_path / "k1.pem").unlink()
    signed(tmp_path)
    assert graph_pack.verify([tmp_path / "acme.limits"], False, server.folder) == 1
    assert "unverified: fingerprint-mismatch" in capsys.readouterr().out, "another key of that name is not believed"


@pytest.mark.all
def test_a_run_keeps_the_rules_it_began_with(start_server: Start) -> None:
    """Also when the server was killed meanwhile, and the pack is not there any more."""
    server = start_server(offered={"orders.yaml": GRAPH, **files()})
    run = server.start("orders")
    server.status(run, "awaiting-input")
    server.kill()
    shutil.rmtree(server.graphs / "packs")
    again = start_server(offered={"orders.yaml": GRAPH})
    assert again.get("/v1/graphs") == []
    again.post(run, "respond", {"response": {"amount": 5000}})
    assert again.ended(run)["error_cause"] == "acme.limits: an amount of 5000"


def test_with_fips_files_are_hashed_with_sha_256(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    signed(tmp_path)
    assert graph_pack.trust(tmp_path / "acme.limits" / "k1.pub.pem", data) == 0
    assert graph_pack.verify([tmp_path / "acme.limits"], False, data) == 0
    monkeypatch.setenv("STARGRAPH_FIPS_MODE", "1")
    assert graph_pack.verify([tmp_path / "acme.limits"], False, data) == 1, "it was signed over another hash"
    signed(tmp_path)
    assert graph_pack.verify([tmp_path / "acme.limits"], False, data) == 0
