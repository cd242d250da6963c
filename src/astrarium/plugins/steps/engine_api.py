"""A client of the Docker Engine API (Docker, and Podman's service): what the docker step needs of it, over its socket.

The address is `DOCKER_HOST` (`unix://` or `tcp://`, TLS by `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`), else the first socket found
where Docker and Podman put theirs. Paths carry no version: the engine answers in its own.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...lazy import library
from ...runs.ports import StepFailed

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 120.0
"""A slow disk lets a create or remove take long; streams and waits have no time-out."""
_FRAME_BYTES = 8
_STREAMS = {0: 1, 1: 1, 2: 2}


class EngineSays(StepFailed):
    """The engine refused; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def find_engine(env: Mapping[str, str]) -> str:
    """The engine's address. `StepFailed` when there is none."""
    named = env.get("DOCKER_HOST") or os.environ.get("DOCKER_HOST", "")
    if named:
        return named
    runtime = env.get("XDG_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    places = ("/var/run/docker.sock", f"{runtime}/docker.sock", "/run/podman/podman.sock", f"{runtime}/podman/podman.sock")
    for place in places:
        if Path(place).is_socket():
            return f"unix://{place}"
    raise StepFailed(f"no container engine is found ({', '.join(places)}); start Docker or Podman's service, or set DOCKER_HOST")


def _transport(address: str) -> tuple[httpx2.AsyncHTTPTransport, str]:
    """The way to an engine, and the base of its URLs."""
    scheme, _, rest = address.partition("://")
    if scheme == "unix":
        return httpx2.AsyncHTTPTransport(uds=rest), "http://engine"
    if scheme not in ("tcp", "http", "https"):
        raise StepFailed(f"DOCKER_HOST={address}: only unix:// and tcp:// are supported; for ssh, forward the socket first")
    folder = os.environ.get("DOCKER_CERT_PATH", "")
    if scheme != "https" and not os.environ.get("DOCKER_TLS_VERIFY"):
        return httpx2.AsyncHTTPTransport(), f"http://{rest}"
    try:
        context = ssl.create_default_context(cafile=f"{folder}/ca.pem" if folder else None)
        if folder:
            context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    except OSError as error:
        raise StepFailed(f"DOCKER_CERT_PATH={folder}: {error.strerror or error}") from None
    return httpx2.AsyncHTTPTransport(verify=context), f"https://{rest}"


class Engine:
    """One engine; `close` when done. Every call raises `EngineSays` for a refusal and `StepFailed` when it cannot be reached."""

    def __init__(self, address: str) -> None:
        self.address = address
        transport, base = _transport(address)
        timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx2.AsyncClient(transport=transport, base_url=base, timeout=timeout)

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None,
        headers: Mapping[str, str] | None = None, patient: bool = False,
    ) -> AsyncIterator[httpx2.Response]:  # fmt: skip
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        told = {"Content-Type": "application/x-tar" if isinstance(body, bytes) else "application/json", **(headers or {})}
        timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S) if patient else httpx2.USE_CLIENT_DEFAULT
        try:
            async with self._client.stream(
                method, path, params=dict(query or {}), content=content, headers=told, timeout=timeout
            ) as response:
                if response.status_code >= 400:
                    raise EngineSays(_complaint(await response.aread()), response.status_code)
                yield response
        except httpx2.HTTPError as error:
            raise StepFailed(
                f"the container engine at {self.address} cannot be reached: {error or type(error).__name__}"
            ) from None

    async def ask(self, method: str, path: str, **how: Any) -> Any:
        """The answer as data; None when it is empty."""
        async with self._asked(method, path, **how) as response:
            data = await response.aread()
        return json.loads(data) if data.strip() else None

    async def lines(self, method: str, path: str, **how: Any) -> AsyncIterator[dict[str, Any]]:
        """The JSON lines of a stream as they come."""
        async with self._asked(method, path, patient=True, **how) as response:
            async for line in response.aiter_lines():
                if line.strip():
                    yield json.loads(line)

    # -- images -------------------------------------------------------------------------------------------------------

    async def has_image(self, image: str) -> bool:
        try:
            await self.ask("GET", f"/images/{quote(image, safe='/:@')}/json")
        except EngineSays as error:
            if error.status == 404:
                return False
            raise
        return True

    async def pull(self, image: str, platform: str, auth: Mapping[str, str] | None) -> AsyncIterator[str]:
        """Pull, telling what the engine tells. `StepFailed` when it cannot."""
        name, tag = split_image(image)
        query = {"fromImage": name, "tag": tag} | ({"platform": platform} if platform else {})
        headers = {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()} if auth else {}
        async for line in self.lines("POST", "/images/create", query=query, headers=headers):
            if line.get("error"):
                raise StepFailed(f"cannot pull {image}: {line['error']}")
            if line.get("status") and not line.get("progress"):
                yield f"{line['id']}: {line['status']}" if line.get("id") else str(line["status"])

    # -- containers ---------------------------------------------------------------------------------------------------

    async def create(self, body: Mapping[str, Any], name: str, platform: str) -> str:
        """The id of a new container, not started yet."""
        query = _given(name=name, platform=platform)
        try:
            made = await self.ask("POST", "/containers/create", query=query, body=body)
        except EngineSays as error:
            if error.status == 409 and name:
                hint = f"remove it with `docker rm -f {name}`, or choose another `name`"
                raise StepFailed(f"a container named {name} is there already; {hint}") from None
            raise
        return str(made["Id"])

    async def start(self, container: str) -> None:
        await self.ask("POST", f"/containers/{_name(container)}/start")

    async def inspect(self, container: str) -> dict[str, Any] | None:
        """What the engine knows of a container; None = there is none."""
        try:
            found: dict[str, Any] = await self.ask("GET", f"/containers/{_name(container)}/json")
        except EngineSays as error:
            if error.status == 404:
                return None
            raise
        return found

    async def wait(self, container: str) -> int:
        """The exit code, once it has ended."""
        ended = await self.ask("POST", f"/containers/{_name(container)}/wait", patient=True)
        return int(ended["StatusCode"])

    async def kill(self, container: str, signal: str) -> None:
        """Signal its first process; nothing happens to one that has ended."""
        try:
            await self.ask("POST", f"/containers/{_name(container)}/kill", query={"signal": signal})
        except EngineSays as error:
            if error.status not in (404, 409, 500):  # 500: Podman's word for "not running"
                raise

    async def remove(self, container: str) -> None:
        """Kill and remove it with its own volumes; it is gone, or on its way, or was never there."""
        try:
            await self.ask("DELETE", f"/containers/{_name(container)}", query={"force": "true", "v": "true"})
        except EngineSays as error:
            if error.status not in (404, 409):
                raise

    async def labelled(self, *labels: str) -> list[str]:
        """Ids of all containers that carry these labels (`name=value`), ended ones too."""
        filters = json.dumps({"label": list(labels)})
        return [one["Id"] for one in await self.ask("GET", "/containers/json", query={"all": "true", "filters": filters})]

    async def put_files(self, container: str, folder: str, tar: bytes) -> None:
        """Unpack a tar inside a container."""
        await self.ask("PUT", f"/containers/{_name(container)}/archive", query={"path": folder}, body=tar)

    @asynccontextmanager
    async def attach(self, container: str) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        """Its output from now on, as (1 or 2, bytes)."""
        query = {"stream": "true", "stdout": "true", "stderr": "true"}
        path = f"/containers/{_name(container)}/attach"
        async with self._asked("POST", path, query=query, patient=True) as response:
            yield frames(response)

    @asynccontextmanager
    async def logs(self, container: str) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        """Its output from the beginning, following."""
        query = {"follow": "true", "stdout": "true", "stderr": "true"}
        async with self._asked("GET", f"/containers/{_name(container)}/logs", query=query, patient=True) as response:
            yield frames(response)

    @asynccontextmanager
    async def events(self, container: str) -> AsyncIterator[AsyncIterator[str]]:
        """Lines that come when something happens to a container from now on."""
        filters = json.dumps({"container": [container], "type": ["container"]})
        async with self._asked("GET", "/events", query={"filters": filters}, patient=True) as response:
            yield response.aiter_lines()

    # -- further processes in a container -----------------------------------------------------------------------------

    async def new_process(self, container: str, body: Mapping[str, Any]) -> str:
        made = await self.ask("POST", f"/containers/{_name(container)}/exec", body=body)
        return str(made["Id"])

    @asynccontextmanager
    async def start_process(self, process: str) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        """Its output until its end."""
        body = {"Detach": False, "Tty": False}
        async with self._asked("POST", f"/exec/{process}/start", body=body, patient=True) as response:
            yield frames(response)

    async def exit_code(self, process: str) -> int | None:
        """None while it runs."""
        found = await self.ask("GET", f"/exec/{process}/json")
        return None if found.get("Running") or found.get("ExitCode") is None else int(found["ExitCode"])


async def frames(response: httpx2.Response) -> AsyncIterator[tuple[int, bytes]]:
    """The two streams of a container without a terminal: each piece has a head of 8 bytes with stream and length."""
    held = b""
    async for chunk in response.aiter_raw():
        held += chunk
        while len(held) >= _FRAME_BYTES:
            size = int.from_bytes(held[4:_FRAME_BYTES], "big")
            if held[0] not in _STREAMS or held[1:4] != b"\0\0\0":
                raise StepFailed("the container engine sent output of an unknown form (a container with a terminal?)")
            if len(held) < _FRAME_BYTES + size:
                break
            yield _STREAMS[held[0]], held[_FRAME_BYTES : _FRAME_BYTES + size]
            held = held[_FRAME_BYTES + size :]


def split_image(image: str) -> tuple[str, str]:
    """Name and tag (or digest) of an image; without either the tag is `latest`, or an engine would pull every tag there is."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, colon, tag = image.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (image, "latest")


def _name(container: str) -> str:
    return quote(container, safe="")


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _complaint(data: bytes) -> str:
    try:
        return f"the container engine says: {json.loads(data)['message']}"
    except (ValueError, KeyError, TypeError):
        return f"the container engine says: {data.decode('utf-8', 'replace').strip()[:500] or 'nothing'}"
