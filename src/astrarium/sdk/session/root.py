"""Target roots: what the server says, what is remembered, and which are used when a build starts."""

from __future__ import annotations

import msgspec

from ...config import ClientConfig
from .call import Session
from .place import Root
from .refusal import target_root_mismatch

ROOTS = "/api/v1/target-roots"


def fetch_roots(session: Session) -> dict[str, str]:
    """The target roots of the client's environment, as the server has them."""
    found = msgspec.convert(session.call("GET", ROOTS, scoped=True), list[Root])
    return {root.name: root.uri_prefix for root in found}


def sync_roots(session: Session) -> dict[str, str]:
    """Fetch the target roots and remember them for builds and for reading outputs without the server."""
    roots = fetch_roots(session)
    keep_roots(session, roots)
    return roots


def keep_roots(session: Session, roots: dict[str, str]) -> None:
    config = session.config
    place = session.place()
    workspace_id, environment_id = config.root_place if config.api_key else (place.workspace_id, place.environment_id)
    session.home.keep_target_roots(config.registry_url, workspace_id, environment_id, roots)


def kept_roots(session: Session) -> dict[str, str] | None:
    """The roots that are remembered for where the client works; None when the server was never asked."""
    config: ClientConfig = session.config
    place = session.place()
    workspace_id, environment_id = config.root_place if config.api_key else (place.workspace_id, place.environment_id)
    return session.home.target_roots(config.registry_url, workspace_id, environment_id)


def fixed_roots(session: Session) -> dict[str, str] | None:
    """The roots an argument, a variable or a file names: they stand as they are. None where the registry is to say."""
    source = session.config.sources.get("target_roots")
    return session.config.target_roots if source is not None and source != str(session.home.roots_file) else None


def settle_roots(session: Session) -> dict[str, str]:
    """The roots a build that starts now is to use. Those of an argument, a variable or a file stand as they are. Else the server's,
    which must be those remembered here: results would land where nobody looks. Where none are remembered, they are from now on.

    Raises `Conflict` "Target root mismatch" when they differ.
    """
    fixed = fixed_roots(session)
    if fixed is not None:
        return fixed
    kept = kept_roots(session)
    if kept is None:
        return usable_roots(session, sync_roots(session))
    told = fetch_roots(session)
    if told != kept:
        differing = sorted(name for name in told.keys() | kept.keys() if told.get(name) != kept.get(name))
        lines = "; ".join(
            f"{name} is {told.get(name, 'not there')} on the server, {kept.get(name, 'not known')} here" for name in differing
        )
        raise target_root_mismatch(lines)
    return usable_roots(session, kept)


def usable_roots(session: Session, roots: dict[str, str]) -> dict[str, str]:
    """With `~/` as the user's home."""
    home = session.home.folder
    return {name: str(home / uri[2:]) if uri.startswith("~/") else uri for name, uri in roots.items()}
