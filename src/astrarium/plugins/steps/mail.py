"""`mail`: sends one mail (Dagu 1.30: `type: mail` with the DAG's `smtp`, contract §5). A run's notices are sent by it too.

Port 465 speaks TLS from the start; on any other the connection is raised to TLS when the server offers it. A password is never
sent in the clear, except to this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import mimetypes
import os
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate, getaddresses, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from ...lazy import library
from ...runs.ports import Result, StepFailed, TryContext

if TYPE_CHECKING:
    import aiosmtplib
else:
    aiosmtplib = library("aiosmtplib")

MAX_ATTACHED_BYTES = 50 * 1024 * 1024
TIMEOUT_S = 60.0
TLS_PORT = 465


class Smtp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server that takes the mail. All are templates; without `username` nobody signs in. Port 25 unless said."""

    host: str = ""
    port: str = ""
    username: str = ""
    password: str = ""


class MailParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`from` is one address, `to` and `cc` hold one or several each (also between commas). `text`, `html` or both are the message;
    `attachments` are paths, relative to the step's folder. All are templates."""

    to: tuple[str, ...]
    sender: str = msgspec.field(name="from", default="")
    smtp: Smtp = Smtp()
    cc: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    attachments: tuple[str, ...] = ()


class Mail(msgspec.Struct, frozen=True):
    """A mail as it is sent: nothing in it is a template any more."""

    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    attachments: tuple[Path, ...] = ()


class SendMail:
    """Sends it, or says why the server would not take it. Its output is the mail's Message-ID."""

    kind: ClassVar[str] = "mail"
    Params: ClassVar[type[msgspec.Struct]] = MailParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: MailParams) -> Result:
        smtp = Smtp(*[(await ctx.expand(text)).strip() for text in msgspec.structs.astuple(params.smtp)])
        mail = Mail(
            (await ctx.expand(params.sender)).strip() or smtp.username,
            addresses([await ctx.expand(text) for text in params.to], "to"),
            addresses([await ctx.expand(text) for text in params.cc], "cc"),
            await ctx.expand(params.subject),
            await ctx.expand(params.text),
            await ctx.expand(params.html),
            tuple([Path(ctx.workdir, os.path.expanduser(await ctx.expand(text))) for text in params.attachments]),
        )
        message = await asyncio.to_thread(compose, mail)
        answer = await send(smtp, message)
        everyone = ", ".join((*mail.to, *mail.cc))
        ctx.write(f"sent {message['Message-ID']} to {everyone} through {smtp.host}: {answer}\n")
        return Result(output=str(message["Message-ID"]))


def addresses(texts: list[str], field: str) -> tuple[str, ...]:
    """The single addresses of texts with one or several each. `StepFailed` for what is none."""
    found: list[str] = []
    for text in texts:
        if "\n" in text or "\r" in text:
            raise StepFailed(f"`{field}` must be addresses on one line, not {text!r}")
        for name, address in getaddresses([text]):
            if not address:
                continue
            if "@" not in address.strip("@") or " " in address:
                raise StepFailed(f"`{field}` holds {address!r}, which is no mail address")
            found.append(str(_header_address(name, address)))
    if field == "to" and not found:
        raise StepFailed("the mail has nobody to go to: `to` is empty once its variables are expanded")
    return tuple(found)


def _header_address(name: str, address: str) -> Address:
    try:
        return Address(name, addr_spec=address)
    except (ValueError, MessageError) as error:
        raise StepFailed(f"{address!r} is no mail address: {error}") from None


def compose(mail: Mail) -> EmailMessage:
    """The message. `StepFailed` for a header of several lines, and for what cannot be attached. Reads files: not for the loop."""
    sender = addresses([mail.sender], "from")
    if len(sender) != 1:
        raise StepFailed("`from` must be one mail address")
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = sender[0]
    message["To"] = ", ".join(mail.to)
    if mail.cc:
        message["Cc"] = ", ".join(mail.cc)
    if "\n" in mail.subject.strip() or "\r" in mail.subject.strip():
        raise StepFailed("`subject` must be one line: a second one could pretend to be another header")
    message["Subject"] = mail.subject.strip()
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid("astrarium", sender[0].rpartition("@")[2].strip("<> ") or None)
    if mail.text or not mail.html:
        message.set_content(mail.text)
    if mail.html and mail.text:
        message.add_alternative(mail.html, subtype="html")
    elif mail.html:
        message.set_content(mail.html, subtype="html")
    left = MAX_ATTACHED_BYTES
    for path in mail.attachments:
        left -= _attach(message, path, left)
    return message


def _attach(message: EmailMessage, path: Path, left: int) -> int:
    try:
        if not path.is_file():
            raise StepFailed(f"cannot attach {path}: " + ("it is no file" if path.exists() else "there is no such file"))
        with path.open("rb") as file:
            data = file.read(left + 1)
    except OSError as error:
        raise StepFailed(f"cannot attach {path}: {error.strerror or error}") from None
    if len(data) > left:
        raise StepFailed(f"cannot attach {path}: attachments may have {MAX_ATTACHED_BYTES} bytes in all")
    guessed, encoding = mimetypes.guess_type(path.name)
    kind, _, subtype = (guessed if guessed and not encoding else "application/octet-stream").partition("/")
    message.add_attachment(data, maintype=kind, subtype=subtype, filename=path.name)
    return len(data)


async def send(smtp: Smtp, message: EmailMessage) -> str:
    """Hand the message to the server; its answer. `StepFailed` when it is not taken for every recipient."""
    port = _port(smtp)
    where = f"{smtp.host}:{port}"
    client = aiosmtplib.SMTP(
        hostname=smtp.host, port=port, timeout=TIMEOUT_S, use_tls=port == TLS_PORT, start_tls=None if port != TLS_PORT else False
    )
    try:
        async with client:
            if smtp.username:
                _check_safe(client, smtp.host)
                await client.login(smtp.username, smtp.password)
            refused, answer = await client.send_message(message)
    except aiosmtplib.SMTPAuthenticationError as error:
        raise StepFailed(f"{where} does not let {smtp.username!r} in: {error.code} {error.message}") from None
    except aiosmtplib.SMTPRecipientsRefused as error:
        told = "; ".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients)
        raise StepFailed(f"{where} takes the mail for nobody: {told}") from None
    except aiosmtplib.SMTPResponseException as error:
        raise StepFailed(f"{where} refuses the mail: {error.code} {error.message}") from None
    except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
        raise StepFailed(f"{where}: {error or type(error).__name__}") from None
    if refused:
        told = "; ".join(f"{who}: {code} {said}" for who, (code, said) in refused.items())
        raise StepFailed(f"{where} took the mail, but not for all: {told}")
    return answer


def _port(smtp: Smtp) -> int:
    if not smtp.host:
        raise StepFailed("no mail server is known; give the DAG (or base.yaml) `smtp: {host, port}`")
    if not smtp.port:
        return 25
    if not smtp.port.isdecimal() or not 1 <= int(smtp.port) <= 65535:
        raise StepFailed(f"`smtp.port` must be a number from 1 to 65535, not {smtp.port!r}")
    return int(smtp.port)


def _check_safe(client: aiosmtplib.SMTP, host: str) -> None:
    if client.get_transport_info("ssl_object") is None and not _is_here(host):
        raise StepFailed(f"{host} offers no TLS, and a password is never sent in the clear; use its TLS port, or no `username`")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


STEP = SendMail()
