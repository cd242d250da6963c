"""Every setting and limit of Astrarium: its name, its default, what it means, and where a value came from.

Of servers (`Settings`, `load_settings`): `setting` says what there is, `source` where values come from, `check` which of them are
refused, `described` writes `docs/reference/settings.md`. Of clients (`ClientConfig`, `load_config`): `client` puts it together,
`profile` reads and changes `config.toml`, `home` keeps what a sign-in gave.
"""

from __future__ import annotations

from .check import is_loopback, is_zone, parse_networks, split_origins
from .client import CLIENT_MEANINGS, ClientConfig, is_client_variable, load_config
from .described import Described, describe, reference
from .setting import DEFAULT_TEXTS, KIB, MEANINGS, MIB, RANGES, SECRET, RemoteNode, Settings
from .source import DAGU_VARIABLES, FILE_NAME, OWN_VARIABLES, PREFIX, RATELIMIT_VARIABLES, is_own, load_settings, user_file

__all__ = [
    "CLIENT_MEANINGS",
    "DAGU_VARIABLES",
    "DEFAULT_TEXTS",
    "FILE_NAME",
    "KIB",
    "MEANINGS",
    "MIB",
    "OWN_VARIABLES",
    "PREFIX",
    "RANGES",
    "RATELIMIT_VARIABLES",
    "SECRET",
    "ClientConfig",
    "Described",
    "RemoteNode",
    "Settings",
    "describe",
    "is_client_variable",
    "is_loopback",
    "is_own",
    "is_zone",
    "load_config",
    "load_settings",
    "parse_networks",
    "reference",
    "split_origins",
    "user_file",
]
