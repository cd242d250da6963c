"""Signing in at an OpenID Connect provider with a browser: authorization code with PKCE (RFC 7636, RFC 8252).

The browser comes back to a port of this machine. Only the request that carries our `state` counts: any other page may call that port.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import secrets
import selectors
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from ..config import is_loopback
from ..errors import Invalid, Unauthenticated, Unavailable, Upstream
from ..sdk.session import Session
from ..sdk.session.credential import Tokens, claims_of
from ..sdk.session.refusal import authentication_failed

PORT = 8400
WAIT_S = 120.0
PATH = "/callback"
SCOPES = ("openid", "profile", "email")
OFFLINE = "offline_access"
"""The scope some providers want before they give a refresh token."""
DISCOVERY = "/.well-known/openid-configuration"
PAGE = """<!doctype html><meta charset="utf-8"><title>Astrarium</title>
<body style="font: 1.1rem sans-serif; margin: 4rem auto; max-width: 30rem"><h1>{head}</h1><p>{told}</p>
"""


class Provider(msgspec.Struct, frozen=True):
    """What we use of a provider's discovery document."""

    authorization_endpoint: str
    token_endpoint: str
    issuer: str = ""
    scopes_supported: list[str] = []


class Came(msgspec.Struct, frozen=True):
    """What the browser brought back."""

    code: str = ""
    error: str = ""
    issuer: str = ""


def sign_in(session: Session, issuer: str, client_id: str, port: int, browser: bool) -> tuple[Provider, Tokens]:
    """Send the user to the provider and get tokens for what they bring back. Raises `Unauthenticated`."""
    provider = discover(session, issuer)
    verifier, state, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    with _listening(port) as listening:
        address = f"http://localhost:{listening[0].server_port}{PATH}"
        scopes = [*SCOPES, *([OFFLINE] if OFFLINE in provider.scopes_supported else [])]
        asked = {
            "client_id": client_id, "response_type": "code", "redirect_uri": address, "scope": " ".join(scopes),
            "state": state, "nonce": nonce, "code_challenge": challenge_of(verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        if OFFLINE in scopes:
            asked["prompt"] = "consent"
        url = provider.authorization_endpoint + ("&" if "?" in provider.authorization_endpoint else "?") + urlencode(asked)
        _show(url, browser)
        came = _wait(listening, state)
    if came.error:
        raise authentication_failed(f"the provider says {came.error}")
    if came.issuer and came.issuer.rstrip("/") != (provider.issuer or issuer).rstrip("/"):
        raise authentication_failed(f"the answer came from another provider, {came.issuer}")
    form = {
        "grant_type": "authorization_code", "code": came.code, "redirect_uri": address, "client_id": client_id,
        "code_verifier": verifier,
    }  # fmt: skip
    try:
        tokens = msgspec.convert(session.outside("POST", provider.token_endpoint, form=form), Tokens)
    except (Invalid, Unauthenticated) as error:
        raise authentication_failed(f"{provider.token_endpoint} refused the code: {error.message}") from None
    if claims_of(tokens.id_token).get("nonce", nonce) != nonce:
        raise authentication_failed("the provider's token belongs to another sign-in")
    return provider, tokens


def discover(session: Session, issuer: str) -> Provider:
    """A provider's endpoints. Raises `Invalid` for one that may not be asked in the clear, `Upstream`, `Unavailable`."""
    parts = urlsplit(issuer)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise Invalid(f"the provider {issuer!r} must be reached over https", hint="only loopback addresses may do without")
    url = issuer.rstrip("/") + DISCOVERY
    try:
        return msgspec.convert(session.outside("GET", url), Provider)
    except msgspec.ValidationError as error:
        raise Upstream(f"{url} is not as it should be: {error}") from None


def challenge_of(verifier: str) -> str:
    """The challenge of a PKCE verifier, method S256."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _show(url: str, browser: bool) -> None:
    if browser:  # one that runs in this terminal is back only when it is closed
        threading.Thread(target=_open, args=(url,), daemon=True).start()
    told = "Your browser shows where to sign in. If it does not, open:" if browser else "Open this address in a browser:"
    print(f"{told}\n\n  {url}\n", file=sys.stderr, flush=True)


def _open(url: str) -> None:
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(url)


class _Listener(http.server.HTTPServer):
    """One address of the port the browser comes back to."""

    came: Came | None = None
    state: str = ""

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int]) -> None:
        self.address_family = family
        super().__init__(address, _Request)


class _Request(http.server.BaseHTTPRequestHandler):
    server: _Listener
    timeout = 2.0

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        found = dict(parse_qsl(parts.query))
        if parts.path != PATH:
            self._say(404, "Not here", f"This port only knows {PATH}.")
        elif not hmac.compare_digest(found.get("state", "").encode(), self.server.state.encode()):
            self._say(400, "Not signed in", "This answer belongs to no sign-in that was begun here.")
        elif found.get("error"):
            self.server.came = Came(error=": ".join(filter(None, (found["error"], found.get("error_description")))))
            self._say(400, "Not signed in", "The terminal says more.")
        elif found.get("code"):
            self.server.came = Came(code=found["code"], issuer=found.get("iss", ""))
            self._say(200, "Signed in", "You can close this page and go back to the terminal.")
        else:
            self._say(400, "Not signed in", "The provider sent no code.")

    def _say(self, status: int, head: str, told: str) -> None:
        page = PAGE.format(head=head, told=told).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))):
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the path holds the code."""


@contextlib.contextmanager
def _listening(port: int) -> Iterator[list[_Listener]]:
    """The port on both loopback addresses: a browser may take either for `localhost`."""
    listening: list[_Listener] = []
    try:
        try:
            listening.append(_Listener(socket.AF_INET, ("127.0.0.1", port)))
        except OSError as error:
            hint = "choose another with --port, one the provider knows for this client"
            raise Unavailable(f"port {port} cannot be listened on: {error.strerror}", hint=hint) from None
        with contextlib.suppress(OSError):
            listening.append(_Listener(socket.AF_INET6, ("::1", listening[0].server_port)))
        yield listening
    finally:
        for one in listening:
            one.server_close()


def _wait(listening: list[_Listener], state: str) -> Came:
    deadline = time.monotonic() + WAIT_S
    with selectors.DefaultSelector() as selector:
        for one in listening:
            one.state, one.timeout = state, 0.0
            selector.register(one, selectors.EVENT_READ, one)
        while (left_s := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                key.data.handle_request()
            came = next((one.came for one in listening if one.came is not None), None)
            if came is not None:
                return came
    raise authentication_failed(f"nobody came back from the provider within {WAIT_S:.0f} s", "try `astrarium auth login` again")
