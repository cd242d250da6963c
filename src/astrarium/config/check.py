"""Which values of settings, and which of them together, make no sense or are not safe."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import Problem
from .setting import RANGES, RemoteNode

_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:]+\]|[^/\s:@?#*\[\]]+)(:\d{1,5})?")


def problems_of(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Problem]:
    """Every complaint about these values, each with the place it was written at."""
    for name, (low, high) in RANGES.items():
        value = values.get(name)
        if value is not None and not low <= value <= high:
            yield Problem(f"{name} = {value:,} is out of range: {low:,} to {high:,}", path=name, file=sources[name])
    yield from _check_sign_in(values, sources)
    yield from _check_profile(values, sources)
    url = values.get("database_url")
    if url and not url.startswith(("postgresql://", "postgres://")):
        yield Problem(
            "database_url must begin with postgresql://",
            path="database_url",
            file=sources["database_url"],
            hint="leave it empty for the embedded SQLite file in the data folder",
        )
    zone = values.get("time_zone")
    if zone and not is_zone(zone):
        hint = "write a name like Europe/Paris or UTC; empty means the machine's"
        yield Problem(f"time_zone = {zone!r} is no known time zone", path="time_zone", file=sources["time_zone"], hint=hint)
    public = values.get("public_url")
    if public and not public.startswith(("http://", "https://")):
        yield Problem("public_url must begin with http:// or https://", path="public_url", file=sources["public_url"])
    for queue, limit in (values.get("queues") or {}).items():
        if limit < 0:
            hint = "a number from 1 on; 0 means no limit"
            yield Problem(f"queue {queue!r} cannot have the limit {limit}", path="queues", file=sources["queues"], hint=hint)
    place = values.get("artifact_store")
    if place and not place.startswith(("/", "s3://", "gs://", "az://")):
        hint = "write an absolute path, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
        yield Problem(f"artifact_store = {place!r} is no place", path="artifact_store", file=sources["artifact_store"], hint=hint)
    for place in split_places(values.get("output_roots", "")):
        if not place.startswith(("/", "s3://", "gs://", "az://")) or not place.strip("/") or ".." in place.split("/"):
            hint = "write absolute paths of folders below /, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            yield Problem(f"output_roots: {place!r} is no place", path="output_roots", file=sources["output_roots"], hint=hint)
    if values.get("remote_nodes"):
        yield from _check_nodes(values["remote_nodes"], sources["remote_nodes"])


def _check_sign_in(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Problem]:
    host = values.get("host")
    closed = values.get("auth", "none") != "none" or values.get("auth_token") or values.get("auth_username")
    if host is not None and not is_loopback(host) and not closed:
        yield Problem(
            f"host = {host!r} is not a loopback address, and there is no authentication (auth = none): whoever reaches the port "
            "could run commands on this machine",
            path="host",
            file=sources["host"],
            hint="add --auth builtin and make a user with `astrarium admin create`, or listen on 127.0.0.1 and reach it through "
            "an SSH tunnel or an authenticating proxy on the same machine",
        )
    yield from _check_provider(values, sources)
    origins = split_origins(values.get("cors_origins", ""))
    if "*" in origins and not closed:
        told = "cors_origins = '*' without authentication: any web page could run commands on this machine"
        yield Problem(told, path="cors_origins", file=sources["cors_origins"], hint="name the origins, or add --auth builtin")
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            hint = "write scheme and host, without a path, e.g. https://tools.example"
            yield Problem(f"{origin!r} is no origin", path="cors_origins", file=sources["cors_origins"], hint=hint)
    for one, other in (("auth_username", "auth_password"), ("auth_password", "auth_username")):
        if values.get(one) and not values.get(other):
            yield Problem(f"{one} is set, {other} is not", path=other, file=sources[one], hint="HTTP basic needs both")


def _check_provider(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Problem]:
    for name in ("oidc_issuer", "oidc_external_issuer", "oidc_jwks_url"):
        url = values.get(name)
        if url and not url.startswith(("http://", "https://")):
            yield Problem(f"{name} must begin with https:// (or http://)", path=name, file=sources[name])
    if values.get("auth") == "oidc" and not values.get("oidc_issuer"):
        hint = "give the provider's address as oidc_issuer"
        yield Problem("auth = oidc without a provider", path="oidc_issuer", file=sources["auth"], hint=hint)


def _check_profile(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Problem]:
    """What `cleared` pins."""
    try:
        parse_networks(values.get("trusted_proxies", ""))
    except ValueError as error:
        hint = "write addresses and networks, e.g. 127.0.0.1, 10.1.0.0/16"
        yield Problem(f"trusted_proxies: {error}", path="trusted_proxies", file=sources["trusted_proxies"], hint=hint)
    if values.get("server_profile") != "cleared":
        return
    wrong = (
        ("auth", values.get("auth", "none") == "none", "no request may be answered without a sign-in", "add --auth builtin, or oidc"),
        ("trusted_proxies", not values.get("trusted_proxies"), "credentials may not cross a network without TLS",
         "put a proxy with TLS in front, and name its address, e.g. trusted_proxies = 127.0.0.1"),
        ("auth_token", bool(values.get("auth_token")), "a static token acts as admin without being somebody", "give an API key"),
        ("auth_username", bool(values.get("auth_username")), "HTTP basic acts as admin without being somebody", "make a user"),
        ("metrics", values.get("metrics") == "public", "nothing is open to everybody", "set metrics = private, and give Prometheus a key"),
    )  # fmt: skip
    for name, is_wrong, told, hint in wrong:
        if is_wrong:
            said = f"server_profile = cleared: {told} ({name})"
            yield Problem(said, path=name, file=sources.get(name, sources["server_profile"]), hint=hint)


def parse_networks(text: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The addresses and networks of the setting `trusted_proxies`. Raises ValueError."""
    return [ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip()]


def _check_nodes(nodes: Mapping[str, RemoteNode], source: str) -> Iterator[Problem]:
    for name, node in nodes.items():
        try:
            parts = urlsplit(node.url)
        except ValueError:
            parts = urlsplit("")
        if not name or name == "local":
            yield Problem(f"a remote node cannot be called {name!r}", path="remote_nodes", file=source)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield Problem(f"remote node {name!r}: url must begin with http:// or https://", path="remote_nodes", file=source)
        elif parts.username or parts.password:
            hint = "give username and password, or token, beside url"
            yield Problem(f"remote node {name!r}: url must not hold a credential", path="remote_nodes", file=source, hint=hint)


def split_origins(text: str) -> list[str]:
    """The origins of the setting `cors_origins`."""
    return [origin for part in text.split(",") if (origin := part.strip())]


def split_places(text: str) -> list[str]:
    """The places of the setting `output_roots`."""
    return [place for part in text.split(",") if (place := part.strip())]


def is_zone(name: str) -> bool:
    """Whether a time zone of this name is known."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
