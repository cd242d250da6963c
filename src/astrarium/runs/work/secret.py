"""Declared secrets: read where they are needed, kept nowhere, and never part of what a run records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import AstrariumError, Invalid
from ..ports import SecretProvider
from .redact import redact


class Secrets:
    """The installed providers by kind."""

    def __init__(self, providers: Mapping[str, SecretProvider]) -> None:
        self._providers = providers

    async def read(self, references: Iterable[Mapping[str, Any]], base_dir: str) -> dict[str, str]:
        """Name → value of every reference. Raises `Invalid` naming the first that cannot be read."""
        found: dict[str, str] = {}
        for reference in references:
            name, kind, key = reference["name"], reference.get("provider", "env"), reference.get("key", "")
            provider = self._providers.get(kind)
            if provider is None:
                installed = ", ".join(sorted(self._providers)) or "none"
                raise Invalid(f"secret {name}: there is no provider {kind!r} here", hint=f"installed: {installed}")
            try:
                value = await provider.read(key, reference.get("options", {}), base_dir)
            except AstrariumError as error:
                raise Invalid(f"secret {name}: {error.message}", hint=error.hint) from None
            if "\0" in value:
                raise Invalid(f"secret {name}: its value holds a NUL character, which no environment can hold")
            found[name] = value
        return found


def secret_in(text: str, secrets: Mapping[str, str]) -> str:
    """The name of a secret whose value, plain or encoded, is part of `text`; empty when there is none."""
    return next((name for name, value in secrets.items() if value.strip() and redact(text, (value,)) != text), "")
