"""The server the fuzz talks to: a real process over a folder of its own, with a few DAGs and runs to be found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.specs.hard.conftest import Served, make_room, serving

FILES = {
    "good.yaml": "params: A=1\nsteps:\n  - name: a\n    command: echo $A\n    output: OUT\n",
    "bad.yaml": "steps:\n  - command: echo\n    depend: b\n",
    "ask.yaml": "steps:\n  - name: sign\n    type: hitl\n    config: {prompt: ok?}\n",
    "parent.yaml": "steps:\n  - name: call\n    call: good\n",
}


@pytest.fixture(scope="session")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_room(tmp_path_factory.mktemp("fuzzed"), ASTRARIUM_DEFAULT_SHELL="true")) as server:
        for name, text in FILES.items():
            server.add(name, text)
        for name in ("good", "parent"):
            assert server.call("POST", f"/dags/{name}/start", {"dagRunId": "one"}).status_code == 200
            assert server.ended("one", name)["status"] == 4
        assert server.call("POST", "/dags/ask/start", {"dagRunId": "one"}).status_code == 200
        yield server
