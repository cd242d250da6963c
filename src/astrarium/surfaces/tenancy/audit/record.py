"""Records of the audit log as they are asked for: filtered and paged, as lines of an export, and checked against their chain.

Reads go by number, newest first for people and oldest first for exports; a record is never changed, so a page stays as it is.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec

from ....errors import Invalid, Problem
from ....kernel.audit import GENESIS, ChainCheck

Read = Callable[[str, Sequence[Any]], Awaitable[list[tuple[Any, ...]]]]
"""The store's reading: SQL with `?`, values → rows."""

PAGE = 500
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
COLUMNS = "workspace, number, at, actor, act, subject, detail, previous, hash"
STREAM = "audit:"
HEAD = "SELECT seq FROM heads WHERE stream = ?"
WORKSPACES = f"SELECT DISTINCT workspace FROM audit UNION SELECT substr(stream, 7) FROM heads WHERE stream LIKE '{STREAM}%'"
SEPARATORS = {"actor": ":", "act": ".", "subject": ":"}
"""What a name may be cut off at: `auth` finds `auth.denied`, `user` finds `user:anna`."""


class AuditRecord(msgspec.Struct, frozen=True):
    """Who did what to what, and its place in the chain. `at` is RFC 3339 in UTC with microseconds."""

    workspace: str
    number: int
    at: str
    actor: str
    act: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str


class AuditPage(msgspec.Struct, frozen=True):
    """Records, newest first. `next` is what `before` must be for the page after this one, null on the last."""

    items: list[AuditRecord]
    next: int | None


class Wanted(msgspec.Struct, frozen=True):
    """Which records. A name is meant whole or up to a separator: `auth` is `auth.denied` too. `since` and `until` (not included) are
    microseconds UTC; 0 = without bound."""

    actor: str = ""
    act: str = ""
    subject: str = ""
    since: int = 0
    until: int = 0


class Head(msgspec.Struct, frozen=True):
    """The last record of a chain. Whoever noted one down elsewhere can tell later whether the log was written anew."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


class Verdict(msgspec.Struct, frozen=True):
    """What a check of one chain found: `flaw` says what is wrong first, after the record `head`; empty = intact."""

    workspace: str
    head: Head
    flaw: str = ""


# -- reading -----------------------------------------------------------------------------------------------------------


async def read_page(read: Read, workspace: str, wanted: Wanted, before: int, limit: int) -> AuditPage:
    """At most `limit` records below the number `before` (0 = the newest)."""
    where, args = _conditions(wanted)
    if before:
        where.append("number < ?")
        args.append(before)
    sql = f"SELECT {COLUMNS} FROM audit WHERE {' AND '.join(['workspace = ?', *where])} ORDER BY number DESC LIMIT ?"
    rows = await read(sql, (workspace, *args, limit + 1))
    found = [as_record(row) for row in rows[:limit]]
    return AuditPage(found, found[-1].number if len(rows) > limit else None)


def _conditions(wanted: Wanted) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    args: list[Any] = []
    for column, separator in SEPARATORS.items():
        name = getattr(wanted, column)
        if name:
            where.append(f"({column} = ? OR ({column} >= ? AND {column} < ?))")  # a range, so that an index is of use
            args += [name, name + separator, name + chr(ord(separator) + 1)]
    for condition, value in (("at >= ?", wanted.since), ("at < ?", wanted.until)):
        if value:
            where.append(condition)
            args.append(value)
    return where, args


async def export(read: Read, workspace: str, after: int = 0) -> AsyncIterator[bytes]:
    """All records above a number, oldest first, as JSON lines: pieces of whole lines."""
    sql = f"SELECT {COLUMNS} FROM audit WHERE workspace = ? AND number > ? ORDER BY number LIMIT ?"
    while rows := await read(sql, (workspace, after, PAGE)):
        yield b"".join(as_line(as_record(row)) for row in rows)
        after = int(rows[-1][1])
        if len(rows) < PAGE:
            return


def as_record(row: Sequence[Any]) -> AuditRecord:
    workspace, number, at, actor, act, subject, detail, previous, digest = row
    return AuditRecord(workspace, number, shown_at(at), actor, act, subject, msgspec.json.decode(detail), previous, digest)


def as_line(record: AuditRecord) -> bytes:
    """One line of an export."""
    return msgspec.json.encode(record, order="sorted") + b"\n"


def shown_at(micros: int) -> str:
    """A time in full: what the hash covers can be told from it."""
    moment = EPOCH + datetime.timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_moment(text: str, name: str, zone: datetime.tzinfo | None = None) -> int:
    """Microseconds UTC of an RFC 3339 time or date; 0 for an empty text. Without an offset it is a time of `zone`, if one is given.
    Raises `Invalid`."""
    if not text:
        return 0
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
        if moment.tzinfo is None and zone is not None:
            moment = moment.replace(tzinfo=zone)
        if moment.tzinfo is not None:
            return max(1, (moment - EPOCH) // datetime.timedelta(microseconds=1))
    except (ValueError, OverflowError):
        pass  # told below, as for a time without an offset
    problem = Problem(f"{name} must be an RFC 3339 time, e.g. 2030-01-31T12:00:00Z, not {text[:40]!r}", path=name)
    raise Invalid(problem.message, [problem])


# -- checking ----------------------------------------------------------------------------------------------------------


async def check_store(read: Read, workspace: str, noted: Head | None = None) -> Verdict:
    """Check a workspace's chain where it is kept. Its last records are missed too: the life of the log knows how many there are."""
    rows = await read(HEAD, (STREAM + workspace,))
    promised = int(rows[0][0]) if rows else 0
    check = ChainCheck()
    sql = f"SELECT {COLUMNS} FROM audit WHERE workspace = ? AND number > ? ORDER BY number LIMIT ?"
    while page := await read(sql, (workspace, check.number, PAGE)):
        for _, number, at, actor, act, subject, detail, previous, digest in page:
            flaw = check.flaw(number, at, actor, act, subject, _decoded(detail), previous, digest) or _differs(check, noted)
            if flaw:
                return Verdict(workspace, Head(check.number, check.hash), flaw)
    return _ended(workspace, check, max(promised, noted.number if noted else 0))


def check_lines(lines: Iterable[bytes], after: int = 0, noted: Head | None = None) -> list[Verdict]:
    """Check an export, which may hold several workspaces one after the other. `after`: the number of the record before its first
    one. Raises `Invalid` where a line is no record."""
    checks: dict[str, ChainCheck] = {}
    for place, line in enumerate(lines, 1):
        record, at = _of_line(line, place)
        check = checks.get(record.workspace)
        if check is None:
            check = checks[record.workspace] = ChainCheck(after, "" if after else GENESIS)
        flaw = check.flaw(
            record.number, at, record.actor, record.act, record.subject, record.detail, record.previous, record.hash
        ) or _differs(check, noted)  # fmt: skip
        if flaw:
            return [Verdict(record.workspace, Head(check.number, check.hash), f"line {place}: {flaw}")]
    return [_ended(workspace, check, noted.number if noted else 0) for workspace, check in checks.items()]


def _of_line(line: bytes, place: int) -> tuple[AuditRecord, int]:
    """The record of a line and its time. What would be written differently was not written by us."""
    told = "it was altered: it is not written as an export writes it"
    try:
        record = msgspec.json.decode(line, type=AuditRecord)
        at = parse_moment(record.at, "at")
        if as_line(record) == line.rstrip(b"\n") + b"\n" and shown_at(at) == record.at:
            return record, at
    except Invalid as error:
        told = error.message
    except (msgspec.MsgspecError, RecursionError) as error:
        told = f"it is no record of an audit log: {error}"
    raise Invalid(f"line {place}: {told}")


def _decoded(detail: Any) -> Any:
    """What cannot be read was altered; no record has it."""
    try:
        return msgspec.json.decode(detail)
    except (msgspec.MsgspecError, TypeError, ValueError):
        return None


def _differs(check: ChainCheck, noted: Head | None) -> str:
    if noted is None or check.number != noted.number or check.hash == noted.hash:
        return ""
    return f"record {noted.number} has another hash than was noted: the log was written anew"


def _ended(workspace: str, check: ChainCheck, promised: int) -> Verdict:
    missing = f"record {check.number + 1} is missing: there were {promised:,} records" if check.number < promised else ""
    return Verdict(workspace, Head(check.number, check.hash), missing)
