"""What cannot be provoked from outside: the server within this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from astrarium import server
from astrarium.config import Settings
from astrarium.errors import Unavailable
from astrarium.worker import Worker

pytestmark = pytest.mark.net


async def test_a_server_whose_work_was_taken_over_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Worker] = []
    original = Worker.open

    async def remember(settings: Settings, **more: Any) -> Worker:
        opened.append(await original(settings, **more))
        return opened[-1]

    monkeypatch.setattr(Worker, "open", remember)
    settings = Settings(data_dir=tmp_path / "data", port=0, drain_timeout_s=0)
    with pytest.raises(Unavailable, match="took over"):
        await server._serve(settings, lambda url: opened[0].engine.fenced.set())
    assert not (tmp_path / "data" / "server.json").exists()


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be made"):
        server.make_data_folder(tmp_path / "file" / "data")


def test_an_address_with_ipv6() -> None:
    try:
        listener = server.listen("::1", 0)
    except Unavailable:
        pytest.skip("no IPv6 on this machine")
    with listener:
        assert server.address_of(listener).startswith("http://[::1]:")


def test_names_clients_may_call_us_by(tmp_path: Path) -> None:
    assert server.hosts_of(Settings(data_dir=tmp_path)) == []
    assert server.hosts_of(Settings(data_dir=tmp_path, public_url="https://dags.example.org/x")) == ["dags.example.org"]
