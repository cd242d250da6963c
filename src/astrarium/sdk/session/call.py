"""`Session`: requests to a registry as somebody; `AsyncSession`: the same for code on an event loop.

Both carry the credential (an API key goes before a sign-in), renew a token that ends, repeat what may be repeated when the connection
is lost, and raise what the registry refuses. A session may be used by several threads; close it at the end.

    with Session(load_config()) as session:
        build = session.call("POST", "/api/v1/builds", body={"root_task_ids": []}, scoped=True)
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ... import __version__
from ...config import ClientConfig
from ...config.home import Home
from ...errors import Invalid, Unavailable, Upstream
from ...lazy import library
from ...spec.graph import Retry
from ...spec.retry import may_retry, retry_delay_s
from .credential import Identity
from .place import Environment, Me, Place, choose_environment, choose_workspace
from .refusal import refusal, wait_of, workspace_not_found

if TYPE_CHECKING:
    import httpx2
else:
    httpx2 = library("httpx2")

RETRY = Retry(limit=4, interval_s=0.5, backoff=2.0, max_interval_s=5.0)
"""How often a call is made again when the connection is lost, or the server cannot serve for the moment."""
REPEATABLE = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))
"""Methods of which a second call does what one does."""
GZIP_MIN_BYTES = 16 * 1024
"""Bodies from this size on are sent packed."""
OCTETS = "application/octet-stream"
LONGEST_WAIT_S = 60.0
"""A server that asks to wait longer is refused at once."""
ME, ENVIRONMENTS = "/api/v1/ui/me", "/api/v1/ui/workspaces/{}/environments"

_Kind = TypeVar("_Kind")


class Answer(msgspec.Struct, frozen=True):
    """What a registry answered; the names of `headers` are in lower case."""

    status: int
    body: bytes
    headers: dict[str, str] = {}

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The decoded body; None when it is empty. Raises `Upstream` when it is no JSON."""
        if not self.body:
            return None
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            told = self.body[:80].decode(errors="replace")
            raise Upstream(f"the server answered {self.status} with something that is no JSON: {told!r} ({error})") from None


class _Ask(msgspec.Struct):
    """One call: what is sent, and how often it was."""

    method: str
    path: str
    query: dict[str, str]
    content: bytes | None
    headers: dict[str, str]
    as_who: str
    """`place`, `workspace:<id>`, `identity` or `nobody`"""
    scoped: bool
    repeatable: bool
    timeout_s: float
    done: int = 0
    renewed: bool = False


class Session:
    """Calls of one configured client. `retry` says how often lost calls are repeated, `transport` is another way to the server
    (tests)."""

    def __init__(self, config: ClientConfig, *, retry: Retry = RETRY, transport: httpx2.BaseTransport | None = None) -> None:
        if not config.registry_url:
            raise Invalid(
                "no registry is configured", code="no_registry",
                hint="sign in with `astrarium auth login --registry-url https://…`, or set ASTRARIUM_REGISTRY_URL",
            )  # fmt: skip
        self.config = config
        self.identity = Identity(config, self._post)
        self.home = Home(config.home)
        self._retry = retry
        self._client = httpx2.Client(timeout=config.timeout_s, follow_redirects=False, transport=transport)
        self._lock = threading.RLock()
        self._place: Place | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    def call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, scoped: bool = False,
        as_who: str = "place", repeatable: bool | None = None, timeout_s: float | None = None, content_type: str = OCTETS,
    ) -> Any:  # fmt: skip
        """The decoded answer of one call; None when it is empty.

        `path` counts from the registry's address, `/api/v1/builds`. `query` items that are None are left out. `body` is sent as JSON,
        `bytes` as they are, under `content_type`. `scoped`: the call is about the client's environment, which is named to the server
        where the credential does not tell it. `as_who`: with an access token of the client's workspace (`place`), of another one
        (`workspace:<id>`), with the identity token (`identity`), or without a credential (`nobody`). `repeatable`: whether the call may
        be made again when nobody knows if it arrived; by default GET, HEAD, PUT and DELETE may.

        Raises the error of a refusal (`details` has `status` and `answer`); `Unauthenticated` begins with "Authentication failed",
        a wrong place is `NotFound` "Workspace not found"; `Unavailable` when the server is not reached.
        """
        answer = self.send(
            method, path, query=query, body=body, scoped=scoped, as_who=as_who, repeatable=repeatable, timeout_s=timeout_s,
            content_type=content_type,
        )
        return decided(method, self.config.registry_url + path, answer)

    def send(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, scoped: bool = False,
        as_who: str = "place", repeatable: bool | None = None, timeout_s: float | None = None, content_type: str = OCTETS,
    ) -> Answer:  # fmt: skip
        """As `call`, but every answer is given, refusals too. Only what is mended here (an ended token, a lost connection) is not
        seen; `Unavailable` is raised when it cannot be."""
        ask = prepared(method, path, query, body, scoped, as_who, repeatable, timeout_s or self.config.timeout_s, content_type)
        while True:
            headers, workspace_id = self.headers_of(ask)
            try:
                answer = _answer(
                    self._client.request(
                        ask.method, self.config.registry_url + path, params=ask.query, content=ask.content,
                        headers=headers, timeout=ask.timeout_s,
                    )
                )  # fmt: skip
            except httpx2.RequestError as error:
                wait_s = self.after_loss(ask, error)
            else:
                decision = self.after_answer(ask, answer, workspace_id, headers)
                if decision is None:
                    return answer
                wait_s = decision
            time.sleep(wait_s)

    def me(self) -> Me:
        """Who we are, and our workspaces. Their ids are remembered."""
        found = msgspec.convert(self.call("GET", ME, as_who="identity"), Me)
        if not self.config.api_key:
            self.home.keep_workspace_ids(self.config.key, {one.slug: one.id for one in found.workspaces})
        return found

    def environments(self, workspace_id: str) -> list[Environment]:
        """The environments of a workspace. Their ids are remembered."""
        asked = self.call("GET", ENVIRONMENTS.format(workspace_id), as_who=f"workspace:{workspace_id}")
        found = msgspec.convert(asked, list[Environment])
        self.home.keep_environment_ids(self.config.key, workspace_id, {one.slug: one.id for one in found})
        return found

    def workspace_id(self) -> str:
        """The id of the workspace this client works in. Asks the registry when it is not known here. Raises `NotFound`."""
        if self._place is not None and self._place.workspace_id:
            return self._place.workspace_id
        if self.config.workspace_id and self.config.environment:
            return self.config.workspace_id
        workspaces = self.me().workspaces
        found = choose_workspace(workspaces, self.config.workspace)
        return found.id if found is not None else self.place().workspace_id

    def place(self) -> Place:
        """Where this client works. Asks the registry when the ids are not known here; with an API key, or where nothing is configured
        and nobody is signed in, the server knows by itself. Raises `NotFound` ("Workspace not found", "Environment not found")."""
        with self._lock:
            if self._place is None:
                self._place = self._known_place() or self._find_place()
            return self._place

    def is_at_hand(self) -> bool:
        """Whether the credential for the client's place is at hand, without reading a file or asking the registry."""
        if self.config.api_key:
            return True
        return self._place is not None and self.identity.is_at_hand(self._place.workspace_id)

    def work_at(self, place: Place) -> None:
        """Work there, whatever the configuration says."""
        self._place = place

    def _known_place(self) -> Place | None:
        config = self.config
        if config.api_key or not (config.workspace or config.environment or self.identity.is_signed_in()):
            return Place()
        if config.workspace_id and config.environment_id:
            return Place(config.workspace_id, config.environment_id)
        return None

    def _find_place(self) -> Place:
        config, workspaces = self.config, self.me().workspaces
        workspace = choose_workspace(workspaces, config.workspace)
        if workspace is not None:
            environment = choose_environment(self.environments(workspace.id), config.environment)
            return Place(workspace.id, environment.id)
        for one in workspaces if not config.environment else ():  # Stardag's variable for the workspace takes an environment too
            if any(config.workspace == found.id for found in self.environments(one.id)):
                return Place(one.id, config.workspace)
        there = ", ".join(one.slug for one in workspaces) or "none"
        raise workspace_not_found(f"{config.workspace!r} is none you are a member of; known are {there}")

    def headers_of(self, ask: _Ask) -> tuple[dict[str, str], str]:
        """The headers of a call with the credential for it, and the workspace whose token that is. The environment is put into the
        query of a call that is about one."""
        workspace_id = ""
        if ask.as_who == "nobody":
            return ask.headers, ""
        if ask.as_who == "place" and (ask.scoped or self.identity.is_signed_in()):
            place = self.place()
            workspace_id = place.workspace_id
            if ask.scoped and place.environment_id and "environment_id" not in ask.query:
                ask.query["environment_id"] = place.environment_id
        elif ask.as_who.startswith("workspace:"):
            workspace_id = ask.as_who.partition(":")[2]
        return {**ask.headers, **self.identity.headers(workspace_id)}, workspace_id

    def after_loss(self, ask: _Ask, error: Exception) -> float:
        """Seconds until a lost call may be made again. Raises `Unavailable` when it may not."""
        arrived = not isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
        if (arrived and not ask.repeatable) or not may_retry(self._retry, ask.done, None):
            why = str(error) or type(error).__name__
            hint = "is it running, and is the address right? `astrarium config show registry_url` tells where that comes from"
            raise Unavailable(f"the registry at {self.config.registry_url} does not answer: {why}", hint=hint) from None
        return self._wait(ask)

    def after_answer(self, ask: _Ask, answer: Answer, workspace_id: str, headers: Mapping[str, str]) -> float | None:
        """None when the answer is for the caller; else the seconds until the call is made again."""
        if answer.status == 401 and not ask.renewed and ask.as_who != "nobody":
            ask.renewed = True
            return 0.0 if self.identity.refused(workspace_id, headers) else None
        asked_s = wait_of(answer.headers)
        waits = answer.status == 429 and asked_s is not None
        if not waits and not (answer.status in (502, 503, 504) and ask.repeatable):
            return None
        if (asked_s or 0) > LONGEST_WAIT_S or not may_retry(self._retry, ask.done, None):
            return None
        return max(float(asked_s or 0), self._wait(ask))

    def _wait(self, ask: _Ask) -> float:
        ask.done += 1
        return retry_delay_s(self._retry, ask.done - 1)

    def outside(self, method: str, url: str, *, form: Mapping[str, str] | None = None) -> Any:
        """The decoded answer of one call of a whole address without our credential: of the provider people sign in at. It is made
        once: a code, like some refresh tokens, is good for one use."""
        return self._once(method, url, {}, None, form)

    def _post(self, url: str, headers: Mapping[str, str], content: bytes | None, form: Mapping[str, str] | None) -> Any:
        return self._once("POST", url, headers, content, form)

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, form: Mapping[str, str] | None
    ) -> Any:
        sent = {"Accept": "application/json", **headers, **({"Content-Type": "application/json"} if content is not None else {})}
        try:
            response = self._client.request(method, url, headers=sent, content=content, data=None if form is None else dict(form))
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise Unavailable(f"{url} does not answer: {str(error) or type(error).__name__}") from None
        return decided(method, url, _answer(response))


class AsyncSession:
    """A `Session` for an event loop: the same calls, awaited. What is rare (renewing a token, finding the place) goes through a
    thread."""

    def __init__(
        self, config: ClientConfig, *, retry: Retry = RETRY, transport: httpx2.AsyncBaseTransport | None = None,
        session: Session | None = None,
    ) -> None:  # fmt: skip
        self.session = session or Session(config, retry=retry)
        self._owns = session is None
        self._client = httpx2.AsyncClient(timeout=config.timeout_s, follow_redirects=False, transport=transport)

    @property
    def config(self) -> ClientConfig:
        return self.session.config

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.aclose()
        if self._owns:
            self.session.close()

    async def call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, scoped: bool = False,
        as_who: str = "place", repeatable: bool | None = None, timeout_s: float | None = None, content_type: str = OCTETS,
    ) -> Any:  # fmt: skip
        """As `Session.call`."""
        answer = await self.send(
            method, path, query=query, body=body, scoped=scoped, as_who=as_who, repeatable=repeatable, timeout_s=timeout_s,
            content_type=content_type,
        )
        return decided(method, self.config.registry_url + path, answer)

    async def send(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, scoped: bool = False,
        as_who: str = "place", repeatable: bool | None = None, timeout_s: float | None = None, content_type: str = OCTETS,
    ) -> Answer:  # fmt: skip
        """As `Session.send`."""
        session = self.session
        ask = prepared(method, path, query, body, scoped, as_who, repeatable, timeout_s or self.config.timeout_s, content_type)
        while True:
            if session.is_at_hand():
                headers, workspace_id = session.headers_of(ask)
            else:
                headers, workspace_id = await asyncio.to_thread(session.headers_of, ask)
            try:
                answer = _answer(
                    await self._client.request(
                        ask.method, self.config.registry_url + path, params=ask.query, content=ask.content,
                        headers=headers, timeout=ask.timeout_s,
                    )
                )  # fmt: skip
            except httpx2.RequestError as error:
                wait_s = session.after_loss(ask, error)
            else:
                if answer.is_success:
                    return answer
                decision = await asyncio.to_thread(session.after_answer, ask, answer, workspace_id, headers)
                if decision is None:
                    return answer
                wait_s = decision
            await asyncio.sleep(wait_s)


def prepared(
    method: str, path: str, query: Mapping[str, Any] | None, body: Any, scoped: bool, as_who: str, repeatable: bool | None,
    timeout_s: float, content_type: str,
) -> _Ask:  # fmt: skip
    """What is sent, apart from the credential."""
    headers = {"Accept": "application/json", "User-Agent": f"astrarium/{__version__}"}
    content: bytes | None = None
    if isinstance(body, bytes):
        content, headers["Content-Type"] = body, content_type
    elif body is not None:
        content, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
    if content is not None and len(content) >= GZIP_MIN_BYTES and not isinstance(body, bytes):
        content, headers["Content-Encoding"] = gzip.compress(content, 1), "gzip"
    items = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    again = method.upper() in REPEATABLE if repeatable is None else repeatable
    return _Ask(method.upper(), path, items, content, headers, as_who, scoped, again, timeout_s)


def decided(method: str, url: str, answer: Answer) -> Any:
    """The decoded answer of a success; raises the error of a refusal."""
    if answer.is_success:
        return answer.json()
    document: Any = None
    if answer.body:
        try:
            document = msgspec.json.decode(answer.body)
        except msgspec.DecodeError:
            document = answer.body[:200].decode(errors="replace")
    raise refusal(method, url, answer.status, document, answer.headers)


def _answer(response: httpx2.Response) -> Answer:
    return Answer(response.status_code, response.content, {name.lower(): value for name, value in response.headers.items()})


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
