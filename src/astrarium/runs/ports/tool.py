"""What is told of tools and models, and how models are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol

import msgspec

Effects = Literal["none", "read", "write", "external"]
"""What a call does to the world."""
ReplayPolicy = Literal["must-stub", "fail-loud", "recorded-result"]
TOOLS_GROUP = "astrarium.tools"
"""The entry points of tools: each is one `Tool`, or a list of them."""
PROVIDERS_GROUP = "astrarium.providers"
"""The entry points of providers of models."""


class ToolSpec(msgspec.Struct, frozen=True):
    """What is told of a tool. `permissions`: what a run must be allowed to call it. `replay_policy` in a run that was forked from another:
    a recorded result is needed (`must-stub`), none is taken and the call is refused (`fail-loud`), or one is preferred to a call
    (`recorded-result`); it holds for tools that write or call outside. Source of the keys: Stargraph 0.8 (contract 13.1)."""

    name: str
    namespace: str
    version: str = "1"
    description: str = ""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] = {}
    side_effects: Effects = "none"
    replay_policy: ReplayPolicy | None = None
    permissions: tuple[str, ...] = ()
    idempotency_key: str | None = None
    cost_estimate: str | None = None
    examples: tuple[dict[str, Any], ...] = ()
    tags: tuple[str, ...] = ()
    deprecated: bool = False

    @property
    def id(self) -> str:
        return f"{self.namespace}.{self.name}@{self.version}"

    @property
    def policy(self) -> ReplayPolicy:
        """The replay policy; what is not declared follows from the effects."""
        return self.replay_policy or ("must-stub" if self.side_effects in ("write", "external") else "recorded-result")


class Called(msgspec.Struct, frozen=True):
    """How a call of a tool ended. `code` is a word for why it did not go well; `said` the facts rules are told of it."""

    ok: bool
    result: Any = None
    error: str = ""
    code: str = ""
    said: tuple[dict[str, Any], ...] = ()


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which model is asked, and where: `base_url` is that of its API, `key` is sent with every request."""

    name: str
    base_url: str
    key: str = ""
    timeout_s: float = 120.0


class Prompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question to a model. `messages` and `tools` are as in OpenAI's chat API; `schema`: JSON schema its answer must fit;
    `max_tokens` 0 = the model's own limit."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    schema: dict[str, Any] = {}
    max_tokens: int = 0


class WantedCall(msgspec.Struct, frozen=True):
    """A call of a tool that a model asks for. `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True):
    """What a model said. `tokens`: all that were used, question and answer; `asked`: those of the question."""

    text: str
    calls: tuple[WantedCall, ...] = ()
    tokens: int = 0
    asked: int = 0


class Provider(Protocol):
    """How models of one kind of API are asked: one file in `plugins/providers`, one entry point in the group `astrarium.providers`."""

    kind: ClassVar[str]

    async def ask(self, model: Model, prompt: Prompt, on_token: Callable[[str], None]) -> Answer:
        """The answer; each piece of its text goes to `on_token` as it comes. Raises `StepFailed` with a code."""
