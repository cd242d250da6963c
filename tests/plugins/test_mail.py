"""Mails to a small server on loopback."""

from __future__ import annotations

import asyncio
import datetime
import email
import ipaddress
import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.policy import default as POLICY
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from astrarium.plugins.steps import mail as module
from astrarium.plugins.steps.mail import STEP, Smtp, send
from astrarium.runs.ports import StepFailed
from tests.contracts.step import FakeTry

pytestmark = pytest.mark.net


class Box:
    """What arrived; `no@…` is refused as a recipient."""

    def __init__(self) -> None:
        self.mails: list[tuple[Envelope, EmailMessage]] = []

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if address.startswith("no@"):
            return "550 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self.mails.append((envelope, email.message_from_bytes(content, policy=POLICY)))  # type: ignore[arg-type]
        return "250 taken"


def sign_in(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
    return AuthResult(success=given.password == b"good" and given.login == b"anna", handled=False)


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
async def smtp(box: Box) -> AsyncIterator[dict[str, str]]:
    def protocol() -> SMTP:
        return SMTP(box, hostname="test", authenticator=sign_in, auth_require_tls=False)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    yield {"host": "127.0.0.1", "port": str(server.sockets[0].getsockname()[1])}
    server.close()


async def test_a_mail_with_all_there_is(ctx: FakeTry, smtp: dict[str, str], box: Box, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n")
    (tmp_path / "raw").write_bytes(b"\0\xff")
    ctx.variables |= {"WHO": "bob@example.org, Carla <carla@example.org>", "N": "7"}
    result = await ctx.run(
        STEP, smtp=smtp, subject="Run ${N} ✓", text="plain $N", html="<b>$N</b>", attachments=["table.csv", str(tmp_path / "raw")],
        to=["$WHO"], cc=["dan@example.org"], **{"from": "Astrarium <a@example.org>"},
    )  # fmt: skip
    [(envelope, mail)] = box.mails
    assert envelope.mail_from == "a@example.org"
    assert envelope.rcpt_tos == ["bob@example.org", "carla@example.org", "dan@example.org"]
    assert (mail["Subject"], mail["From"], mail["Cc"]) == ("Run 7 ✓", "Astrarium <a@example.org>", "dan@example.org")
    assert mail["To"] == "bob@example.org, Carla <carla@example.org>" and mail["Date"]
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text and html and text.get_content().strip() == "plain 7" and html.get_content().strip() == "<b>7</b>"
    attached = {part.get_filename(): part for part in mail.iter_attachments()}
    assert attached["table.csv"].get_content() == "a,b\n" and attached["table.csv"].get_content_type() == "text/csv"
    assert attached["raw"].get_content() == b"\0\xff"
    assert result.output == mail["Message-ID"] and result.output in ctx.out


async def test_html_alone_and_nothing_alone(ctx: FakeTry, smtp: dict[str, str], box: Box) -> None:
    await ctx.run(STEP, smtp=smtp, to=["b@example.org"], html="<i>x</i>", **{"from": "a@example.org"})
    await ctx.run(STEP, smtp=smtp, to=["b@example.org"], **{"from": "a@example.org"})
    assert [mail.get_content_type() for _, mail in box.mails] == ["text/html", "text/plain"]


async def test_signing_in(ctx: FakeTry, smtp: dict[str, str], box: Box) -> None:
    ctx.variables["PASS"] = "good"
    told = {"from": "a@example.org", "to": ["b@example.org"]}
    await ctx.run(STEP, smtp={**smtp, "username": "anna", "password": "${PASS}"}, **told)
    assert len(box.mails) == 1
    with pytest.raises(StepFailed, match="does not let 'anna' in: 535"):
        await ctx.run(STEP, smtp={**smtp, "username": "anna", "password": "bad"}, **told)
    assert len(box.mails) == 1


async def test_a_password_is_not_sent_in_the_clear(
    ctx: FakeTry, smtp: dict[str, str], box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_is_here", lambda host: False)
    with pytest.raises(StepFailed, match="never sent in the clear"):
        await ctx.run(
            STEP, smtp={**smtp, "username": "anna", "password": "good"}, to=["b@example.org"], **{"from": "a@example.org"}
        )
    assert not box.mails


@pytest.mark.parametrize(
    ("host", "here"), [("localhost", True), ("127.0.0.2", True), ("[::1]", True), ("mail.example.org", False)]
)
def test_what_is_this_machine(host: str, here: bool) -> None:
    assert module._is_here(host) is here


async def test_refused_recipients(ctx: FakeTry, smtp: dict[str, str], box: Box) -> None:
    with pytest.raises(StepFailed, match=r"takes the mail for nobody: no@example.org: 550 nobody here"):
        await ctx.run(STEP, smtp=smtp, to=["no@example.org"], **{"from": "a@example.org"})
    with pytest.raises(StepFailed, match=r"not for all: no@example.org: 550 nobody here"):
        await ctx.run(STEP, smtp=smtp, to=["b@example.org", "no@example.org"], **{"from": "a@example.org"})
    assert len(box.mails) == 1


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"subject": "a\nBcc: x@example.org"}, "`subject` must be one line"),
        ({"to": ["b@example.org\r\nBcc: x@example.org"]}, "`to` must be addresses on one line"),
        ({"to": ["$NOBODY_AT_ALL", ""]}, "is no mail address"),
        ({"to": ["", " , "]}, "nobody to go to"),
        ({"from": "a@example.org, b@example.org"}, "`from` must be one mail address"),
        ({"from": "a@example.org\nX: y"}, "`from` must be addresses on one line"),
        ({"attachments": ["missing.txt"]}, "there is no such file"),
        ({"attachments": ["."]}, "it is no file"),
        ({"smtp": {}}, "no mail server is known"),
        ({"smtp": {"host": "127.0.0.1", "port": "no"}}, "`smtp.port` must be a number"),
        ({"smtp": {"host": "127.0.0.1", "port": "1"}}, "127.0.0.1:1: "),
    ],
)
async def test_what_cannot_be_sent_says_why(ctx: FakeTry, smtp: dict[str, str], box: Box, told: dict[str, Any], why: str) -> None:
    given = {"smtp": smtp, "to": ["b@example.org"], "from": "a@example.org", **told}
    with pytest.raises(StepFailed) as caught:
        await ctx.run(STEP, **given)
    assert why in str(caught.value) and not box.mails


async def test_attachments_have_a_limit(
    ctx: FakeTry, smtp: dict[str, str], box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ATTACHED_BYTES", 10)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"123456")
    with pytest.raises(StepFailed, match="10 bytes in all"):
        await ctx.run(STEP, smtp=smtp, to=["b@example.org"], attachments=["a", "b"], **{"from": "a@example.org"})
    assert not box.mails


async def test_a_mail_is_sent_without_a_step(smtp: dict[str, str], box: Box) -> None:
    message = module.compose(module.Mail("a@example.org", ("b@example.org",), subject="s", text="t"))
    assert "taken" in await send(msgspec.convert(smtp, Smtp), message)
    assert box.mails[0][1]["Subject"] == "s"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(here, critical=False).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = tmp_path / "both.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.mark.parametrize("at_once", [False, True])
async def test_tls_is_used_where_it_is_offered_and_its_certificate_checked(
    ctx: FakeTry, box: Box, certificate: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    told = {"authenticator": sign_in, "auth_require_tls": True, "require_starttls": not at_once}

    def protocol() -> SMTP:
        return SMTP(box, hostname="test", tls_context=None if at_once else context, **told)

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=context if at_once else None)
    port = server.sockets[0].getsockname()[1]
    if at_once:
        monkeypatch.setattr(module, "TLS_PORT", port)
    monkeypatch.setattr(module, "_is_here", lambda host: False)
    smtp = {"host": "127.0.0.1", "port": str(port)} | ({} if at_once else {"username": "anna", "password": "good"})
    given = {"smtp": smtp, "to": ["b@example.org"], "from": "a@example.org"}
    with pytest.raises(StepFailed, match="certificate verify failed"):
        await ctx.run(STEP, **given)
    assert not box.mails
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    await ctx.run(STEP, **given)
    assert len(box.mails) == 1
    server.close()
