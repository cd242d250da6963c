"""`node`: a Python class or function by import path, called in the server's own process.

In the process, not in the warm workers, for two reasons: a step costs some microseconds instead of a round trip between processes with
its state written out and read twice, and an asynchronous node may wait for a model or a store while a thousand others do. What is
synchronous runs in a thread, so that nobody waits for it. Work that burns the processor, or that must be killed, belongs into `python`
steps.

Source of the form: Stargraph 0.8 (contract 11.2): `execute(state, ctx)` gives a patch; a class with `config_model` is made with
`config=`, else with keywords.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from ...errors import Refused
from ...runs.ports import Result, StepFailed, TryContext
from ...runs.ports.code import CHANGED, CODES

WRONG_STATE = "StateValidationError"
MOST_MADE = 10_000


class Made(NamedTuple):
    """What is called with (state, ctx). `waits`: it is asynchronous."""

    call: Callable[..., Any]
    waits: bool


_made: dict[bytes, Made] = {}


class NodeParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"target": "class"}):
    """`class` is `module:Name` of a class with `execute(state, ctx)` or of a function; `config` is what it is made with (a function gets
    it as keywords); `state_class` the Pydantic model of the state. `code` and `state_code` are the fingerprints they had when the graph was
    compiled: a run goes on with the code it began with; `folder` and `state_folder` where they were found, if not beside the document."""

    target: str
    config: dict[str, Any] = {}
    state_class: str = ""
    code: str = ""
    folder: str = ""
    state_code: str = ""
    state_folder: str = ""


class NodeState(dict[str, Any]):
    """The state of a graph without a model: a mapping whose fields are attributes too. Changing it changes nothing; the patch does."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the state has no field {name!r}; fields are: {', '.join(self)}") from None


class NodeContext:
    """What a node is told of its run. `write` appends to the step's log."""

    is_replay = False

    def __init__(self, ctx: TryContext) -> None:
        self.run_id = ctx.run_id
        self.graph_id = ctx.run_name
        self.node_id = ctx.node.name
        self.step = ctx.at
        self.attempt = ctx.try_no
        self.stopping = ctx.stopping
        self.write = ctx.write


def find(path: str, folder: str, fingerprint: str = "") -> Any:
    """The object `module:Name` names; modules beside the graph's file come first. Raises `StepFailed`."""
    try:
        return CODES.given(path, folder, fingerprint)
    except (ImportError, AttributeError) as error:
        raise StepFailed(f"`{path}` cannot be imported: {error}", code="ImportError") from error
    except Refused as error:
        raise StepFailed(f"{error.message} ({error.hint})", code=error.code) from error


def make(params: NodeParams, folder: str) -> Made:
    """Made once for a class and its configuration."""
    folder = params.folder or folder
    key = msgspec.json.encode([params.target, params.config, folder, params.code], order="sorted")
    known = _made.get(key)
    if known is None:
        target = find(params.target, folder, params.code)
        call = instance(target, params.config).execute if isinstance(target, type) else bound(target, params.config)
        known = _made[key] = Made(call, inspect.iscoroutinefunction(call))
        if len(_made) > MOST_MADE:
            del _made[next(iter(_made))]
    return known


def instance(target: Any, config: dict[str, Any]) -> Any:
    model = getattr(target, "config_model", None)
    if model is not None:
        return target(config=model(**config))
    return target(**config) if config else target()


def bound(function: Callable[..., Any], config: dict[str, Any]) -> Callable[..., Any]:
    """A function takes the state, the context if it has room for it, and its configuration as keywords."""
    places = [one for one in inspect.signature(function).parameters.values() if one.kind <= one.POSITIONAL_OR_KEYWORD]
    takes_context = len([one for one in places if one.name not in config]) > 1

    def call(state: Any, ctx: NodeContext) -> Any:
        return function(state, ctx, **config) if takes_context else function(state, **config)

    async def wait(state: Any, ctx: NodeContext) -> Any:
        return await call(state, ctx)

    return wait if inspect.iscoroutinefunction(function) else call


def model_of(params: NodeParams, folder: str) -> Any:
    if not params.state_class:
        return None
    return find(params.state_class, params.state_folder or folder, params.state_code)


def plain(value: Any) -> Any:
    """Objects of models as the data they stand for."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"a patch holds data, not {type(value).__name__}")
    return dump(mode="json")


class PythonNode:
    """Whatever the node raises breaks the run, under the name of its class; a patch the model refuses does too."""

    kind: ClassVar[str] = "node"
    Params: ClassVar[type[msgspec.Struct]] = NodeParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: NodeParams) -> Result:
        folder = ctx.graph.base_dir
        try:
            (call, waits), model = make(params, folder), model_of(params, folder)
            state = model(**ctx.state) if model is not None else NodeState(ctx.state)
            if waits:
                made = await call(state, NodeContext(ctx))
            else:
                made = await asyncio.to_thread(call, state, NodeContext(ctx))
                made = await made if inspect.isawaitable(made) else made
            if isinstance(made, Result):
                return made
            patch = msgspec.to_builtins(made if made is not None else {}, enc_hook=plain)
            if not isinstance(patch, Mapping):
                raise TypeError(f"a node gives a mapping of state fields, not {type(made).__name__}")
        except StepFailed as error:
            return Result("failed" if error.code == CHANGED else "broken", error=str(error), code=error.code or "ImportError")
        except Exception as error:  # a user's code may raise anything
            return Result("broken", error=f"{type(error).__name__}: {error}", code=type(error).__name__)
        return check(model, ctx.state, dict(patch))


def check(model: Any, state: Mapping[str, Any], patch: dict[str, Any]) -> Result:
    """The patch, if the model takes the state it makes."""
    if model is not None and patch:
        try:
            model(**{**state, **patch})
        except ValueError as error:  # what Pydantic raises is one
            return Result("broken", error=f"{WRONG_STATE}: {error}", code=WRONG_STATE)
    return Result(patch=patch or None)


STEP = PythonNode()
