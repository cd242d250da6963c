"""What a client keeps in the user's home: how it signed in, tokens for a while, ids and target roots it was told.

Ours is `~/.astrarium`; `~/.stardag` is read where ours says nothing, and never written (Stardag 0.28: the same names and shapes).
Secrets are 0600 in folders that are 0700. Every write replaces a file as a whole, so that a reader meets the old one or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from ..errors import Invalid

OWN, FOREIGN = ".astrarium", ".stardag"
CONFIG_FILE = "config.toml"
CREDENTIALS, TOKENS = "credentials", "access-token-cache"
ROOTS_FILE, IDS_FILE, LOCK_FILE = "target-root-cache.json", "id-cache.json", "lock"
_UNSAFE = re.compile(r"[/\\ :]")
_Kind = TypeVar("_Kind")


class Credential(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a user signed in at a registry. With OpenID Connect: where a refresh token is exchanged for new tokens, and that token. With
    a password (`auth_mode = local`): a session token and until when it is good (seconds since 1970). `registry_url` is the only
    address it may be sent to; Stardag's files have none."""

    auth_mode: str = "oidc"
    registry_url: str = ""
    token_endpoint: str = ""
    client_id: str = ""
    refresh_token: str = ""
    session_token: str = ""
    session_expires_at: float = 0.0

    def __repr__(self) -> str:
        """Without what signs us in."""
        return f"Credential({self.auth_mode}, {self.registry_url or self.token_endpoint})"


class AccessToken(msgspec.Struct, frozen=True):
    """A token for one workspace, and when to get another one (seconds since 1970, 30 s before it ends)."""

    access_token: str
    expires_at: float

    def __repr__(self) -> str:
        return f"AccessToken(until {self.expires_at:.0f})"


class RootEntry(msgspec.Struct, frozen=True):
    """The target roots of one environment as the server told them."""

    registry_url: str
    workspace_id: str
    environment_id: str
    target_roots: dict[str, str]


class Ids(msgspec.Struct, omit_defaults=True):
    """Slugs of workspaces and environments and their ids, by registry."""

    workspaces: dict[str, dict[str, str]] = {}
    environments: dict[str, dict[str, dict[str, str]]] = {}


def registry_key(url: str) -> str:
    """What files of a registry without a name are called by: `host` or `host_port` of its address."""
    parts = urlsplit(url)
    host = (parts.hostname or "unknown").replace(":", "_")
    return f"{host}_{parts.port}" if parts.port else host


def key_place(api_key: str) -> str:
    """Stands for the environment of an API key where its id is not known. The key cannot be told from it."""
    return "key-" + hashlib.sha256(api_key.encode()).hexdigest()[:16]


class Home:
    """The two folders below `home` (the user's home, unless a test says otherwise)."""

    def __init__(self, home: Path | None = None) -> None:
        self.folder = home or Path.home()
        self.own, self.foreign = self.folder / OWN, self.folder / FOREIGN

    @property
    def config_file(self) -> Path:
        """Our `config.toml`, which need not exist."""
        return self.own / CONFIG_FILE

    @property
    def roots_file(self) -> Path:
        return self.own / ROOTS_FILE

    def credential(self, key: str, user: str) -> Credential | None:
        """How this user signed in at the registry; None when they did not."""
        return self._read(f"{CREDENTIALS}/{_stem(key, user)}.json", Credential)

    def credential_file(self, key: str, user: str) -> Path | None:
        """Where the credential is kept, if there is one."""
        name = f"{CREDENTIALS}/{_stem(key, user)}.json"
        return next((folder / name for folder in (self.own, self.foreign) if (folder / name).is_file()), None)

    def keep_credential(self, key: str, user: str, credential: Credential) -> Path:
        return self._write(f"{CREDENTIALS}/{_stem(key, user)}.json", credential, secret=True)

    def forget(self, key: str = "", user: str = "") -> list[Path]:
        """Remove credentials and tokens: of one user, of all users of one registry, of all. Returns the files that were removed."""
        gone = [*self._secret_files(CREDENTIALS, key, user), *self._secret_files(TOKENS, key, user)]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone

    def sign_ins(self, key: str = "", user: str = "") -> list[Credential]:
        """What `forget` would remove of sign-ins."""
        found = (_decode(path, Credential) for path in self._secret_files(CREDENTIALS, key, user))
        return [one for one in found if one is not None]

    def _secret_files(self, folder: str, key: str, user: str) -> list[Path]:
        start = _stem(key, user) if user else f"{_safe(key)}__" if key else ""
        return [
            path
            for path in sorted((self.own / folder).glob("*.json"))
            if path.stem.startswith(start) and (not user or path.stem == start or path.stem.startswith(start + "__"))
        ]

    def access_token(self, key: str, user: str, workspace_id: str) -> AccessToken | None:
        return self._read(f"{TOKENS}/{_stem(key, user)}__{workspace_id}.json", AccessToken)

    def keep_access_token(self, key: str, user: str, workspace_id: str, token: AccessToken) -> Path:
        return self._write(f"{TOKENS}/{_stem(key, user)}__{workspace_id}.json", token, secret=True)

    def target_roots(self, url: str, workspace_id: str, environment_id: str) -> dict[str, str] | None:
        """The roots last told by the server for an environment; None when they were never asked for."""
        wanted = (_bare(url), workspace_id, environment_id)
        for name in (self.own / ROOTS_FILE, self.foreign / ROOTS_FILE):
            for entry in _decode(name, list[RootEntry]) or []:
                if (_bare(entry.registry_url), entry.workspace_id, entry.environment_id) == wanted:
                    return entry.target_roots
        return None

    def keep_target_roots(self, url: str, workspace_id: str, environment_id: str, roots: dict[str, str]) -> Path:
        with self.locked():
            entries = _decode(self.own / ROOTS_FILE, list[RootEntry]) or []
            told = RootEntry(_bare(url), workspace_id, environment_id, roots)
            place = (told.registry_url, workspace_id, environment_id)
            kept = [one for one in entries if (_bare(one.registry_url), one.workspace_id, one.environment_id) != place]
            return self._write(ROOTS_FILE, [*kept, told])

    def workspace_id(self, key: str, slug: str) -> str:
        """The id of a workspace by its slug, as far as it is known here; else empty."""
        return next((found for ids in self._ids() if (found := ids.workspaces.get(key, {}).get(slug, ""))), "")

    def environment_id(self, key: str, workspace_id: str, slug: str) -> str:
        return next(
            (found for ids in self._ids() if (found := ids.environments.get(key, {}).get(workspace_id, {}).get(slug, ""))), ""
        )

    def keep_workspace_ids(self, key: str, ids: dict[str, str]) -> None:
        """What the server says of a registry's workspaces, in place of what was known."""
        with self.locked():
            known = _decode(self.own / IDS_FILE, Ids) or Ids()
            if known.workspaces.get(key) != ids:
                self._write(IDS_FILE, Ids({**known.workspaces, key: ids}, known.environments))

    def keep_environment_ids(self, key: str, workspace_id: str, ids: dict[str, str]) -> None:
        with self.locked():
            known = _decode(self.own / IDS_FILE, Ids) or Ids()
            mine = known.environments.get(key, {})
            if mine.get(workspace_id) != ids:
                self._write(IDS_FILE, Ids(known.workspaces, {**known.environments, key: {**mine, workspace_id: ids}}))

    def forget_ids(self, key: str) -> None:
        """Forget the ids of a registry, whose name is to mean another one."""
        with self.locked():
            known = _decode(self.own / IDS_FILE, Ids)
            if known is not None:
                known.workspaces.pop(key, None)
                known.environments.pop(key, None)
                self._write(IDS_FILE, known)

    def _ids(self) -> Iterator[Ids]:
        for folder in (self.own, self.foreign):
            known = _decode(folder / IDS_FILE, Ids)
            if known is not None:
                yield known

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among the processes of this user: for a file that is read and written anew, and for a refresh token that is good
        for one use. Not to be nested."""
        self.own.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.own / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def write_config(self, text: str) -> Path:
        """Put `text` in place of our `config.toml`."""
        return _replace(self.config_file, text.encode(), 0o644)

    def _read(self, name: str, kind: type[_Kind]) -> _Kind | None:
        for folder in (self.own, self.foreign):
            found = _decode(folder / name, kind)
            if found is not None:
                return found
        return None

    def _write(self, name: str, document: Any, *, secret: bool = False) -> Path:
        data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        return _replace(self.own / name, data, 0o600 if secret else 0o644)


def _stem(key: str, user: str) -> str:
    return f"{_safe(key)}__{_safe(user)}"


def _safe(text: str) -> str:
    return _UNSAFE.sub("_", text.replace("@", "_at_"))


def _bare(url: str) -> str:
    return url.rstrip("/")


def _decode(path: Path, kind: type[_Kind]) -> _Kind | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:
        raise Invalid(
            f"{path} is not as it was written: {error}", hint="remove the file; `astrarium auth login` makes it anew"
        ) from None


def _replace(path: Path, data: bytes, mode: int) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return path
