"""Which registry is used when nobody names one."""

from __future__ import annotations

from ...config import load_config
from .api import APIRegistry
from .noop import NoOpRegistry
from .port import Registry


def default_registry() -> Registry:
    """The configured one; none is configured, or `ASTRARIUM_NO_REGISTRY` is set: one that records nothing."""
    config = load_config()
    return APIRegistry() if config.registry_url and not config.no_registry else NoOpRegistry()
