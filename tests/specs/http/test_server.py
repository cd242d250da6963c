"""What cannot be provoked from outside: the server within this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

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


class Wire:
    """A transport that remembers what is sent at once, and that nothing can be written once it is closed."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def test_a_head_and_its_body_are_sent_as_one() -> None:
    wire = Wire()
    one = server.OneWrite(cast(asyncio.Transport, wire), asyncio.get_running_loop())
    one.write(b"head")
    assert wire.sent == []
    one.write(b"body")
    assert wire.sent == [b"headbody"]
    one.write(b"a stream's head")
    await asyncio.sleep(0)
    assert wire.sent[1:] == [b"a stream's head"]


async def test_what_is_held_is_sent_before_the_connection_closes_and_not_after() -> None:
    wire = Wire()
    one = server.OneWrite(cast(asyncio.Transport, wire), asyncio.get_running_loop())
    one.write(b"head")
    one.close()
    assert wire.sent == [b"head"] and wire.closed and one.is_closing()
    lost = server.OneWrite(cast(asyncio.Transport, wire), asyncio.get_running_loop())
    lost.write(b"to nobody")
    await asyncio.sleep(0)
    assert wire.sent == [b"head"]
