"""A registry and a provider to sign in at, on one loopback port: as much of both as a client sees."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

TEAM, DEV, PROD = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
KEY = "sk_000000_" + "k" * 32


def jwt(**claims: Any) -> str:
    """A token as a client sees it; nobody checks the signature here."""
    parts = ({"alg": "none"}, claims)
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "sig"])


class Registry:
    """What it answers can be changed while it runs; `seen` has every request as (method, path, query, headers, body)."""

    def __init__(self) -> None:
        self.url = ""
        self.auth_mode = "oidc"
        self.opaque = False
        self.gives_refresh = True
        self.token_s = 600.0
        self.number = 0
        self.refresh_tokens: set[str] = set()
        self.identities: set[str] = set()
        self.access: set[str] = set()
        self.codes: dict[str, dict[str, str]] = {}
        self.workspaces = [{"id": TEAM, "name": "Team", "slug": "team", "role": "owner", "is_personal": False}]
        self.environments = {TEAM: [self.environment(DEV, "dev"), self.environment(PROD, "prod")]}
        self.roots = {DEV: {"default": "/dev-data"}, PROD: {"default": "s3://prod"}}
        self.broken: list[int] = []
        self.seen: list[tuple[str, str, dict[str, str], dict[str, str], Any]] = []

    @staticmethod
    def environment(id_: str, slug: str) -> dict[str, Any]:
        return {"id": id_, "workspace_id": TEAM, "name": slug.title(), "slug": slug, "description": None, "owner_id": None}

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, *_ in self.seen]

    def _tokens(self) -> dict[str, Any]:
        """A new set of tokens. The refresh token is good for one use."""
        self.number += 1
        access = f"opaque-{self.number}" if self.opaque else jwt(sub="ada", n=self.number)
        id_token = jwt(email="ada@example.com", n=self.number)
        self.identities |= {id_token} if self.opaque else {access}
        tokens = {"access_token": access, "id_token": id_token, "token_type": "Bearer", "expires_in": self.token_s}
        if self.gives_refresh:
            self.refresh_tokens.add(f"refresh-{self.number}")
            tokens["refresh_token"] = f"refresh-{self.number}"
        return tokens

    def token(self, form: dict[str, str]) -> tuple[int, Any]:
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refresh_tokens:
                return 400, {"error": "invalid_grant", "error_description": "used or unknown"}
            self.refresh_tokens.remove(form["refresh_token"])
            return 200, self._tokens()
        asked = self.codes.pop(form["code"], None)
        verifier = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != verifier or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        return 200, self._tokens()

    def answer(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any) -> tuple[int, Any]:
        """The status and the body, `location: …` for a redirect."""
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        known = bearer in self.identities | self.access or headers.get("x-api-key") == KEY or self.auth_mode == "none"
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.url, "authorization_endpoint": self.url + "/authorize", "token_endpoint": self.url + "/token",
                "scopes_supported": ["openid", "email", "offline_access"],
            }  # fmt: skip
        if path == "/authorize":
            self.codes["code-1"] = query
            back = {"code": "code-1", "state": query["state"], "iss": self.url}
            return 302, f"location: {query['redirect_uri']}?{urlencode(back)}"
        if path == "/token":
            return self.token(body)
        if path == "/api/v1/auth/config":
            told = {"oidc_issuer": self.url, "oidc_client_id": "cli"} if self.auth_mode == "oidc" else {}
            return 200, {"auth_mode": self.auth_mode, **told}
        if path == "/api/v1/auth/login":
            if body != {"email": "ada@example.com", "password": "correct-horse"}:
                return 401, {"detail": "Invalid email or password"}
            self.identities.add("session-1")
            return 200, {"session_token": "session-1", "expires_in": self.token_s}
        if path == "/api/v1/auth/exchange":
            if bearer not in self.identities:
                return 401, {"detail": "Token has expired"}
            if body["workspace_id"] not in self.environments:
                return 403, {"detail": "Not a member of the requested workspace"}
            self.number += 1
            self.access.add(f"access-{self.number}")
            return 200, {"access_token": f"access-{self.number}", "token_type": "Bearer", "expires_in": 600}
        if not known:
            return 401, {"detail": "Invalid API key" if "x-api-key" in headers else "Not authenticated"}
        return self._thing(method, path, query, body)

    def _thing(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if self.broken:
            return self.broken.pop(0), {"detail": "for the moment"}
        if path == "/api/v1/ui/me":
            user = {"id": str(uuid.UUID(int=9)), "external_id": "x", "email": "ada@example.com", "display_name": "Ada"}
            return 200, {"user": user, "workspaces": self.workspaces}
        if path == "/api/v1/target-roots":
            roots = self.roots.get(query.get("environment_id", DEV))
            if roots is None:
                return 404, {"detail": "Environment not found"}
            return 200, [{"name": name, "uri_prefix": uri} for name, uri in roots.items()]
        parts = path.removeprefix("/api/v1/ui/workspaces/").split("/")
        if path.startswith("/api/v1/ui/workspaces/") and parts[0] in self.environments:
            return self._environments(method, self.environments[parts[0]], parts[2:], body)
        if path == "/api/v1/echo":
            return 200, {"query": query, "body": body}
        return (404, {"detail": "Workspace not found"}) if "/workspaces/" in path else (404, {"detail": "Not Found"})

    def _environments(self, method: str, there: list[dict[str, Any]], parts: list[str], body: Any) -> tuple[int, Any]:
        if not parts:
            if method == "GET":
                return 200, there
            there.append({**self.environment(str(uuid.uuid4()), body["slug"]), **body})
            self.roots[there[-1]["id"]] = {}
            return 201, there[-1]
        if len(parts) == 1:
            there[:] = [one for one in there if one["id"] != parts[0]]
            return 204, None
        roots = self.roots[parts[0]]
        if method == "GET":
            return 200, [{"id": name, "name": name, "uri_prefix": uri} for name, uri in roots.items()]
        if method == "DELETE":
            del roots[parts[2]]
            return 204, None
        name = body.get("name", parts[-1])
        roots[name] = body["uri_prefix"]
        return 201, {"id": name, "name": name, "uri_prefix": body["uri_prefix"]}


class _Request(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        raw = self.rfile.read(int(headers.get("content-length", 0)))
        if headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        form = headers.get("content-type", "").startswith("application/x-www-form")
        body = {name: values[0] for name, values in parse_qs(raw.decode()).items()} if form else json.loads(raw) if raw else None
        query = dict(parse_qsl(parts.query))
        self.registry.seen.append((self.command, parts.path, query, headers, body))
        status, document = self.registry.answer(self.command, parts.path, query, headers, body)
        redirect = isinstance(document, str) and document.startswith("location: ")
        data = b"" if document is None or redirect else json.dumps(document).encode()
        self.send_response(status)
        if redirect:
            self.send_header("Location", document.removeprefix("location: "))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at `seen`."""


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry that listens until the end of the block."""
    registry = Registry()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Request", (_Request,), {"registry": registry}))
    server.daemon_threads = True
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
