"""`astrarium audit`: the log of who did what, read where it is kept. That needs neither a server nor a sign-in, only the data folder."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import typer

from ..config import Settings
from ..errors import Invalid
from ..surfaces.tenancy.audit.record import (
    WORKSPACES,
    AuditPage,
    AuditRecord,
    Head,
    Verdict,
    Wanted,
    check_lines,
    check_store,
    export,
    parse_moment,
    read_page,
)
from .option import AsJson, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of
from .screen import show_rows
from .source import open_read
from .view import local_time

APP = new_app()
COLUMNS = ("number", "time", "actor", "act", "subject", "detail")
NOTED = re.compile(r"([1-9]\d{0,18}):([0-9a-f]{64})")
LIST_EXAMPLES = examples(
    "astrarium audit list",
    "astrarium audit list --act auth.denied --since 2030-01-31",
    "astrarium audit list --actor user --limit 10 --before 1200",
    "astrarium audit list --subject error:9f0c… --json",
)
EXPORT_EXAMPLES = examples(
    "astrarium audit export > audit.jsonl",
    'astrarium audit export --after "$(wc -l < audit.jsonl)" >> audit.jsonl',
)
VERIFY_EXAMPLES = examples(
    "astrarium audit verify",
    "astrarium audit verify audit.jsonl",
    "astrarium audit verify --head 1200:5f2a… --workspace personal",
    "gunzip -c audit.jsonl.gz | astrarium audit verify -",
)
EXAMPLES = examples("astrarium audit list", "astrarium audit export > audit.jsonl", "astrarium audit verify audit.jsonl")
Workspace = Annotated[str, typer.Option("--workspace", metavar="ID", help="Whose log.")]


@APP.callback(epilog=EXAMPLES)
def audit() -> None:
    """Show, export and check the log of sign-ins, denials and changes. Works beside a live server, and without one."""


@APP.command("list", epilog=LIST_EXAMPLES)
def list_records(
    actor: Annotated[str, typer.Option("--actor", metavar="WHO", help="Only by `user:anna`, or a kind, `user`.")] = "",
    act: Annotated[str, typer.Option("--act", metavar="WHAT", help="Only `auth.denied`, or a group, `auth`.")] = "",
    subject: Annotated[str, typer.Option("--subject", metavar="ID", help="Only about `user:17`, or a kind, `user`.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Only from this time or day on.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Only before this time or day.")] = "",
    before: Annotated[int, typer.Option("--before", min=0, metavar="NUMBER", help="Only records before this one.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most records listed.")] = 50,
    workspace: Workspace = "personal",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """List records, newest first.

    To a pipe: number, time, actor, act, subject, detail as JSON, separated by tabs. Times without an offset are local ones.
    """
    zone = datetime.now().astimezone().tzinfo
    wanted = Wanted(actor, act, subject, parse_moment(since, "since", zone), parse_moment(until, "until", zone))
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    page = asyncio.run(_page(settings, workspace, wanted, before, limit))
    if as_json:
        print_json(page)
    else:
        show_rows(COLUMNS, [_row(record) for record in page.items], "no records")
    return 0


async def _page(settings: Settings, workspace: str, wanted: Wanted, before: int, limit: int) -> AuditPage:
    async with open_read(settings) as read:
        return await read_page(read, workspace, wanted, before, limit)


def _row(record: AuditRecord) -> tuple[str, ...]:
    detail = msgspec.json.encode(record.detail).decode()
    at = local_time(parse_moment(record.at, "at"))
    return (str(record.number), at, record.actor, record.act, record.subject, detail)


@APP.command("export", epilog=EXPORT_EXAMPLES)
def export_records(
    after: Annotated[int, typer.Option("--after", min=0, metavar="NUMBER", help="Only records after this one.")] = 0,
    workspace: Workspace = "personal",
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Print all records as JSON lines, oldest first: one record a line, so a later export goes on where the last one ended."""
    asyncio.run(_export(settings_of(data_dir=data_dir, database_url=database_url), workspace, after))
    return 0


async def _export(settings: Settings, workspace: str, after: int) -> None:
    async with open_read(settings) as read:
        async for lines in export(read, workspace, after):
            sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


@APP.command("verify", epilog=VERIFY_EXAMPLES)
def verify(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="An export (`-`: standard input), not the store.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, metavar="NUMBER", help="The export begins after this record.")] = 0,
    head: Annotated[
        str, typer.Option("--head", metavar="NUMBER:HASH", help="A head that was noted earlier: that record must have that hash.")
    ] = "",
    workspace: Annotated[str, typer.Option("--workspace", metavar="ID", help="Only this one's log.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Check that no record was altered, removed, added or moved, and say where if one was (exit code 1).

    Each record's hash covers the one before. Who can write to the database can write the whole log anew: note the head this prints
    somewhere else, and give it as --head later.
    """
    noted = _noted(head)
    if noted is not None and not file and not workspace:
        workspace = "personal"
    if file is not None:
        with _lines_of(file) as stream:
            verdicts = check_lines(stream, after, noted)
        verdicts = [verdict for verdict in verdicts if workspace in ("", verdict.workspace)]
    else:
        settings = settings_of(data_dir=data_dir, database_url=database_url)
        verdicts = asyncio.run(_check(settings, workspace, noted))
    broken = any(verdict.flaw for verdict in verdicts)
    if as_json:
        print_json(verdicts)
    else:
        for verdict in verdicts:
            print(_told(verdict))
        if not verdicts:
            print("no records")
    return 1 if broken or (noted is not None and not verdicts) else 0


async def _check(settings: Settings, workspace: str, noted: Head | None) -> list[Verdict]:
    async with open_read(settings) as read:
        names = [workspace] if workspace else sorted(row[0] for row in await read(WORKSPACES, ()))
        return [await check_store(read, name, noted) for name in names]


def _told(verdict: Verdict) -> str:
    if verdict.flaw:
        return f"{verdict.workspace}: broken: {verdict.flaw}"
    return f"{verdict.workspace}: intact, {verdict.head.number:,} records, head {verdict.head}"


def _noted(text: str) -> Head | None:
    if not text:
        return None
    match = NOTED.fullmatch(text)
    if match is None:
        raise Invalid("--head must be a number and a hash, NUMBER:HASH, as `verify` prints them", code="usage")
    return Head(int(match[1]), match[2])


@contextlib.contextmanager
def _lines_of(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    with file.open("rb") as stream:
        yield stream
