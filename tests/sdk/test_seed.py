"""The Python of "Use the API registry" (Stardag's guide), with our names, against a server that is configured by variables alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

import astrarium as ar
from astrarium import APIRegistry
from astrarium.config import load_config
from astrarium.errors import NotFound
from tests.sdk.plan_server import PlanServer

pytestmark = pytest.mark.net


@ar.task
def fetch_data(source: str) -> dict:
    # ...
    pass


@ar.task
def process(data: ar.Depends[dict]) -> list:
    # ...
    pass


@pytest.fixture
def address(server: PlanServer) -> Iterator[str]:
    """Where the server listens on loopback."""

    class Request(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = httpx2.Request(self.command, f"http://here{self.path}", headers=dict(self.headers), content=content)
            server.keys.append(self.headers.get("x-api-key"))
            told = server.answer(request)
            self.send_response(told.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(told.content)))
            self.end_headers()
            self.wfile.write(told.content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Request)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.mark.parametrize("prefix", ["STARDAG", "ASTRARIUM"])
def test_a_workflow_configured_by_variables(
    prefix: str, address: str, server: PlanServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.roots = [{"name": "default", "uri_prefix": str(tmp_path / "shared")}]
    monkeypatch.setenv(f"{prefix}_API_KEY", "sk_your_api_key_here")
    monkeypatch.setenv(f"{prefix}_REGISTRY_URL", address)
    monkeypatch.setenv(f"{prefix}_WORKSPACE_ID", "0190a0a0-0000-7000-8000-000000000001")
    config = load_config()
    assert (config.registry_url, config.api_key) == (address, "sk_your_api_key_here")
    registry = APIRegistry()
    task = process(data=fetch_data(source="production"))
    told = ar.build(task, registry=registry)
    registry.close()
    assert str(told.status) == "success" and server.builds[str(told.build_id)]["status"] == "completed"
    assert set(server.keys) == {"sk_your_api_key_here"}
    assert isinstance(ar.default_registry(), APIRegistry), "ar.build(task) alone would have done the same"
    monkeypatch.setenv(f"{prefix}_NO_REGISTRY", "true")
    assert isinstance(ar.default_registry(), ar.NoOpRegistry)


def test_a_registry_made_by_hand_and_results_read_without_it(address: str, server: PlanServer, tmp_path: Path) -> None:
    server.roots = [{"name": "default", "uri_prefix": str(tmp_path / "shared")}]
    registry = APIRegistry(api_url=address, workspace_id="0190a0a0-0000-7000-8000-000000000001", api_key="sk_...", timeout=5)
    task = process(data=fetch_data(source="production"))
    ar.build(task, registry=registry)
    registry.close()
    calls = len(server.calls)
    assert task.load() is None and task.target().uri.startswith(str(tmp_path / "shared"))
    assert len(server.calls) == calls, "no server is asked to read"


def test_target_roots_are_remembered_for_reading_offline(
    address: str, server: PlanServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.roots = [{"name": "default", "uri_prefix": str(tmp_path / "shared")}]
    monkeypatch.setenv("ASTRARIUM_API_KEY", "sk_...")
    monkeypatch.setenv("ASTRARIUM_REGISTRY_URL", address)
    ar.build(fetch_data(source="production"))
    calls = len(server.calls)
    assert ar.target_root() == str(tmp_path / "shared")
    assert fetch_data(source="production").complete() and len(server.calls) == calls


def test_without_a_registry_nothing_is_recorded() -> None:
    assert isinstance(ar.default_registry(), ar.NoOpRegistry)
    with pytest.raises(NotFound, match="no registry is configured"):
        ar.Task.from_registry("0190a0a0-0000-7000-8000-000000000001")
