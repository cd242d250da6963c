"""How often a caller may ask: counted for each, told in headers, refused where the server is set up to refuse.

Two counters must both have room: a window of fixed length, and a bucket of `burst` tokens that fills up at the window's rate. A
request costs some arithmetic, no look-up in a store: servers that share a database tell each other now and then what they
counted (`untold`, `heard`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from ..errors import TooOften

if TYPE_CHECKING:  # who only names a caller stays free of the web framework
    from starlette.requests import HTTPConnection

ONE_CLIENT = 64
"""Bits of an IPv6 address that tell clients apart: the others each may choose as they like."""
KEPT = 10_000
"""Callers counted at once; those not seen for longest are forgotten first."""


class Tier(msgspec.Struct, frozen=True):
    """So many requests in each window, and so many at once."""

    requests: int
    burst: int
    window_s: int = 60


STANDARD = Tier(1000, 100)
PREMIUM = Tier(5000, 500)
STRANGERS = Tier(60, 60)
"""Credentials that are not valid, from one address."""


def address_of(connection: HTTPConnection) -> str:
    """The address strangers are counted by; empty for a client without one."""
    text = connection.client.host if connection.client is not None else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is not None:
        return text
    return str(ipaddress.ip_network((int(address), ONE_CLIENT), strict=False))


class Account:
    """What one caller has used. `untold` is the part of `used` no other server knows of."""

    __slots__ = ("at", "tokens", "untold", "used", "window")

    def __init__(self, window: int, tokens: float, at: float) -> None:
        self.window = window
        self.used = 0
        self.untold = 0
        self.tokens = tokens
        self.at = at


class Limits:
    """The counters of one server. They are shown under the path prefixes `shown`, and everywhere when the server refuses."""

    def __init__(self, tier: Tier, *, refuse: bool, shown: Iterable[str] = (), now: Callable[[], float] = time.time) -> None:
        self.tier = tier
        self.refuse = refuse
        self._shown = tuple(shown)
        self._now = now
        self._callers: dict[str, Account] = {}
        self._strangers: dict[str, Account] = {}
        self.touched = asyncio.Event()
        """Set when there is something untold."""

    def take(self, connection: HTTPConnection, principal: str) -> None:
        """Count one request of a caller. Raises `TooOften`."""
        self._take(connection, self._account(self._callers, principal, self.tier), self.tier)

    def take_stranger(self, connection: HTTPConnection) -> None:
        """Count a credential that is not valid. Raises `TooOften`, where the server refuses."""
        self._take(connection, self._account(self._strangers, address_of(connection), STRANGERS), STRANGERS)

    def _take(self, connection: HTTPConnection, account: Account, tier: Tier) -> None:
        short = self._spend(account, tier)
        if self.refuse or connection.scope["path"].startswith(self._shown):
            left, reset = tier.requests - account.used, (account.window + 1) * tier.window_s
            connection.state.rate = (tier.requests, max(0, left), reset)
        if short:
            raise self._too_often(account, tier, short)

    def _account(self, accounts: dict[str, Account], key: str, tier: Tier) -> Account:
        now = self._now()
        window = int(now // tier.window_s)
        account = accounts.get(key)
        if account is None:
            if len(accounts) >= KEPT:
                del accounts[next(iter(accounts))]
            account = accounts[key] = Account(window, tier.burst, now)
            return account
        if account.window != window:
            account.window, account.used, account.untold = window, 0, 0
            accounts[key] = accounts.pop(key)
        account.tokens = min(tier.burst, account.tokens + max(0.0, now - account.at) * tier.requests / tier.window_s)
        account.at = now
        return account

    def _spend(self, account: Account, tier: Tier) -> str:
        """Take one token; where there is none and the server refuses, which limit it was."""
        if self.refuse and (account.used >= tier.requests or account.tokens < 1):
            return "minute" if account.used >= tier.requests else "burst"
        account.used += 1
        account.untold += 1
        account.tokens = max(account.tokens - 1, 0.0) if not self.refuse else account.tokens - 1
        if not self.touched.is_set():
            self.touched.set()
        return ""

    def _too_often(self, account: Account, tier: Tier, short: str) -> TooOften:
        if short == "minute":
            wait_s = (account.window + 1) * tier.window_s - account.at
            told = f"more than {tier.requests:,} requests in {tier.window_s:,} s"
        else:
            wait_s = (1 - account.tokens) * tier.window_s / tier.requests
            told = f"more than {tier.burst:,} requests at once"
        retry_after_s = max(1, math.ceil(wait_s))
        return TooOften(told, retry_after_s=retry_after_s, hint=f"try again in {retry_after_s} s", details={"limit": short})

    # -- several servers ------------------------------------------------------------------------------------------------

    def untold(self) -> list[tuple[str, int, int]]:
        """(principal, window, requests) counted here since the last call."""
        self.touched.clear()
        told = []
        for principal, account in self._callers.items():
            if account.untold:
                told.append((principal, account.window, account.untold))
                account.untold = 0
        return told

    def heard(self, principal: str, window: int, total: int) -> None:
        """All servers together counted `total` requests of a caller in a window, what was `untold` here not included."""
        account = self._callers.get(principal)
        if account is None or account.window != window:
            return
        others = total + account.untold - account.used
        if others > 0:
            account.used += others
            account.tokens = max(account.tokens - others, -float(self.tier.burst))
