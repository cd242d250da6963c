"""A small OIDC provider in a thread of this process: what it signs, and with which keys, is the test's to choose.

It signs in whoever comes, as `person`, without asking. The real one is in `tests/specs/oidc/test_provider.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ANNA = {"sub": "anna-1", "email": "anna@example.com", "email_verified": True, "name": "Anna Ant"}


class Issuer:
    """`keys`: kid → (algorithm, private key), the last one signs. `asked`: the paths that were asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.published: list[str] | None = None
        self.person: dict[str, Any] = dict(ANNA)
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.userinfo: dict[str, Any] = {}
        self.nonce: str | None = None
        self.down = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.rotate("k1")

    def rotate(self, kid: str, algorithm: str = "RS256") -> None:
        """Sign with a new key from now on; earlier ones are not published any more."""
        made: Any = {
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[algorithm]()
        self.keys = {kid: (algorithm, made)}

    def jwks(self) -> dict[str, Any]:
        of: dict[str, Any] = {
            "RS256": jwt.algorithms.RSAAlgorithm,
            "ES256": jwt.algorithms.ECAlgorithm,
            "EdDSA": jwt.algorithms.OKPAlgorithm,
        }
        keys = []
        for kid, (algorithm, private) in self.keys.items():
            made: Any = of[algorithm].to_jwk(private.public_key(), as_dict=True)
            keys.append({**made, "kid": kid, "use": "sig", "alg": algorithm})
        return {"keys": keys}

    def token(self, headers: Any = None, **more: Any) -> str:
        """An access token of the person; None takes a claim away."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": "astrarium-cli", "iat": now, "exp": now + 300, **self.person, **more}
        kid, (algorithm, private) = list(self.keys.items())[-1]
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, private, algorithm, headers={"kid": kid, **(headers or {})})

    # -- over HTTP ------------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        if self.down:
            return 503, {}, {}
        if path == "/.well-known/openid-configuration":
            return 200, {}, {
                "issuer": self.url, "authorization_endpoint": self.url + "/auth", "token_endpoint": self.url + "/token",
                "jwks_uri": self.url + "/jwks", "userinfo_endpoint": self.url + "/me",
            }  # fmt: skip
        if path == "/jwks":
            return 200, {}, self.jwks()
        if path == "/auth":
            code = hashlib.sha256(json.dumps(query).encode()).hexdigest()[:20]
            self.codes[code] = query
            there = f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.url})}"
            return 302, {"location": there}, {}
        if path == "/token":
            return self._token(form)
        return (200, {}, self.userinfo) if path == "/me" else (404, {}, {})

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if asked is None or base64.urlsafe_b64encode(digest).decode().rstrip("=") != asked["code_challenge"]:
            return 400, {}, {"error": "invalid_grant"}
        nonce = asked["nonce"] if self.nonce is None else self.nonce
        id_token = self.token(aud=asked["client_id"], nonce=nonce)
        return 200, {}, {"access_token": "opaque", "id_token": id_token, "token_type": "Bearer"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Answer(BaseHTTPRequestHandler):
            def _do(self) -> None:
                parts = urlsplit(self.path)
                data = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                issuer.asked.append(parts.path)
                query, form = ({name: one[0] for name, one in parse_qs(text).items()} for text in (parts.query, data))
                status, headers, body = issuer.answer(self.command, parts.path, query, form)
                made = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**headers, "content-type": "application/json", "content-length": str(len(made))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(made)

            do_GET = do_POST = _do

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        return Answer


@contextmanager
def open_issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        issuer.server.shutdown()
        thread.join()
        issuer.server.server_close()
