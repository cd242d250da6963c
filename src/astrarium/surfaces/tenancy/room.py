"""This surface's part of one server: its secrets, its users and keys, who calls."""

from __future__ import annotations

import asyncio
import logging

from ...config import Settings
from ...errors import Refused
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...kernel.record.entry import remove_entries
from ...kernel.types import Actor
from ...web.caller import EVERYTHING, PERSONAL, Caller
from .access.browser import Browser
from .access.challenge import Challenge
from .access.first import First
from .access.grant import Grants
from .access.newcomer import Newcomers, Outsiders
from .access.provider import Provider
from .access.renewal import FAMILY, Renewals
from .access.scoped import Passes
from .access.signing import Signers
from .access.ticket import Tickets
from .audit.refusal import Refusals
from .catalog import Keys, Users
from .identity import ENDED, Identity
from .password import Passwords
from .role import ADMIN
from .token import KeyRing, open_ring
from .workspace.directory import Directory
from .workspace.environment import Environments
from .workspace.member import Invites, Members
from .workspace.sdk import Places

log = logging.getLogger("astrarium.tenancy")
KEYS_FOLDER = "keys"
SPARE_US = 3_600_000_000
"""Clocks of servers on one database may differ: what is over stays so long."""
BY_SETTINGS = Caller(Actor("settings", ""), PERSONAL, ADMIN, EVERYTHING, "settings")


class Tenancy:
    """Made by `open`, once the worker is open; `close` before it closes."""

    def __init__(self, engine: Engine, settings: Settings, ring: KeyRing, registry: Registry, local_token: str) -> None:
        self._engine = engine
        self.ring = ring
        self.builtin = settings.auth == "builtin"
        self._passwords = Passwords()
        self.users = Users(engine, self._passwords)
        self.keys = Keys(engine, ring)
        self.directory = Directory(engine, settings)
        self.refusals = Refusals(engine)
        challenge = Challenge(settings)
        self.signers = Signers(engine, ring, registry)
        self.passes = Passes(engine, settings, self.signers, challenge, registry)
        self.tickets = Tickets(engine, ring, self.passes, challenge)
        self.provider = Provider(settings, engine.clock) if settings.auth == "oidc" else None
        self.newcomers = Newcomers(engine, settings, self.directory)
        outsiders = Outsiders(engine, self.provider, self.newcomers, self.refusals) if self.provider is not None else None
        self.identity = Identity(
            engine,
            settings,
            ring,
            self._passwords,
            local_token,
            registry,
            challenge,
            self.passes,
            self.tickets,
            outsiders,
            self.refusals,
        )
        self.places = Places(engine, registry)
        self.renewals = Renewals(engine, ring)
        self.grants = Grants(engine, self.identity, self.directory, self.passes, self.renewals, self.refusals)
        self.browser = Browser(engine, settings, ring, self.identity, self.newcomers, self.provider, self.refusals)
        self.first = First(engine, ring, self.users)
        self.members = Members(self.directory)
        self.invites = Invites(self.directory, self.members)
        self.environments = Environments(self.directory, self.keys)

    @classmethod
    async def open(cls, settings: Settings, engine: Engine, registry: Registry, local_token: str = "") -> Tenancy:
        """Raises `Invalid` and `Unavailable` when the server's own keys cannot be used."""
        ring = await asyncio.to_thread(open_ring, settings.data_dir / KEYS_FOLDER, settings.master_key)
        tenancy = cls(engine, settings, ring, registry, local_token)
        await tenancy.directory.make_personal()
        if tenancy.builtin:
            await tenancy._first_admin(settings)
        return tenancy

    async def _first_admin(self, settings: Settings) -> None:
        """The first user comes from the settings, if they name a password; later starts leave it as it is (Dagu 1.30)."""
        if not settings.admin_password or await self.users.all(BY_SETTINGS):
            return
        try:
            await self.users.create(BY_SETTINGS, settings.admin_username, settings.admin_password, ADMIN)
        except Refused:
            log.info("another server made the first user")

    def seconds_until(self, moment: int) -> int:
        """Seconds from now to a moment (microseconds UTC), the last one begun counted; at least 0."""
        return max(0, -((self._engine.clock.now() - moment) // 1_000_000))

    async def sweep(self) -> int:
        """Remove what nobody can show any more: sessions that were signed out of, and refresh tokens; how many entries went."""
        before, removed = self._engine.clock.now() - SPARE_US, 0
        for kind in (ENDED, FAMILY):
            removed += await remove_entries(self._engine, PERSONAL, kind, lambda entry: int(entry.body["until"]) <= before)
        return removed

    async def aclose(self) -> None:
        self._passwords.close()
        if self.provider is not None:
            await self.provider.close()
