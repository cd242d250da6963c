"""This surface's part of one server: its secrets, its users and keys, who calls."""

from __future__ import annotations

import asyncio
import logging

from ...config import Settings
from ...errors import Refused
from ...kernel.engine import Engine
from ...kernel.machine import Registry
from ...kernel.types import Actor
from ...web.caller import EVERYTHING, PERSONAL, Caller
from .catalog import Keys, Users
from .identity import Identity
from .password import Passwords
from .role import ADMIN
from .token import KeyRing, open_ring
from .workspace.directory import Directory
from .workspace.environment import Environments
from .workspace.member import Invites, Members

log = logging.getLogger("astrarium.tenancy")
KEYS_FOLDER = "keys"
BY_SETTINGS = Caller(Actor("settings", ""), PERSONAL, ADMIN, EVERYTHING, "settings")


class Tenancy:
    """Made by `open`, once the worker is open; `close` before it closes."""

    def __init__(self, engine: Engine, settings: Settings, ring: KeyRing, registry: Registry, local_token: str) -> None:
        self.ring = ring
        self._passwords = Passwords()
        self.users = Users(engine, self._passwords)
        self.keys = Keys(engine, ring)
        self.identity = Identity(engine, settings, ring, self._passwords, local_token, registry)
        self.directory = Directory(engine, settings)
        self.members = Members(self.directory)
        self.invites = Invites(self.directory, self.members)
        self.environments = Environments(self.directory, self.keys)

    @classmethod
    async def open(cls, settings: Settings, engine: Engine, registry: Registry, local_token: str = "") -> Tenancy:
        """Raises `Invalid` and `Unavailable` when the server's own keys cannot be used."""
        ring = await asyncio.to_thread(open_ring, settings.data_dir / KEYS_FOLDER, settings.master_key)
        tenancy = cls(engine, settings, ring, registry, local_token)
        await tenancy.directory.make_personal()
        if settings.auth == "builtin":
            await tenancy._first_admin(settings)
        return tenancy

    async def _first_admin(self, settings: Settings) -> None:
        """The first user comes from the settings, if they name a password; later starts leave it as it is (Dagu 1.30)."""
        if await self.users.all(BY_SETTINGS):
            return
        if not settings.admin_password:
            log.warning("there is no user yet: make the first with `astrarium admin create`, or set admin_password")
            return
        try:
            await self.users.create(BY_SETTINGS, settings.admin_username, settings.admin_password, ADMIN)
        except Refused:
            log.info("another server made the first user")

    def close(self) -> None:
        self._passwords.close()
