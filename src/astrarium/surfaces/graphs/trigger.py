"""What starts runs of graphs from outside, as a file says it: webhooks and cron (Stargraph 0.8: contract 6).

```yaml
webhook: [{id: orders, path: /hooks/orders, graph_id: "graph:orders", current_secret_env: ORDERS_SECRET}]
cron: [{id: nightly, expr: "0 3 * * *", tz: Europe/Paris, graph_id: "graph:report", params: {}}]
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml

from ...errors import Invalid, Problem
from ...spec.cron import BadCron, parse_cron
from .machines.cron import CronPlan

MAX_BYTES = 1024 * 1024


class Manual(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way to start that only has a name."""

    id: str
    graph_id: str
    description: str = ""


class Cron(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    expr: str
    graph_id: str
    tz: str = "UTC"
    params: dict[str, Any] = {}
    missed_fire_policy: Literal["fire_once_catchup", "skip"] = "fire_once_catchup"

    @property
    def plan(self) -> CronPlan:
        return CronPlan(self.graph_id, self.expr, self.tz, self.params, self.missed_fire_policy)


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`…_secret_env` name variables of the server's environment."""

    id: str
    path: str
    graph_id: str
    current_secret_env: str
    previous_secret_env: str = ""
    timestamp_window_seconds: int = 300
    signature_header: str = "X-Stargraph-Signature"
    timestamp_header: str = "X-Stargraph-Timestamp"
    current_secret: str = ""
    previous_secret: str = ""


class Triggers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int | str = 1
    manual: tuple[Manual, ...] = ()
    cron: tuple[Cron, ...] = ()
    webhook: tuple[Webhook, ...] = ()


def read_triggers(path: Path, environ: Mapping[str, str]) -> Triggers:
    """What the file says, secrets put in; nothing without a file. Raises `Invalid` with everything that is wrong."""
    try:
        data = path.read_bytes()[: MAX_BYTES + 1]
    except FileNotFoundError:
        return Triggers()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if len(data) > MAX_BYTES:
            raise Invalid(f"{path} is larger than {MAX_BYTES:,} bytes")
        told = msgspec.convert(yaml.safe_load(data.decode("utf-8-sig")) or {}, Triggers)
    except (UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise Invalid(f"{path} cannot be read: {error}", [Problem(str(error), file=str(path))]) from error
    problems = [Problem(text, file=str(path)) for text in _problems(told, environ)]
    if problems:
        raise Invalid(f"the triggers are wrong: {'; '.join(str(one) for one in problems)}", problems, code="bad_settings")
    hooks = tuple(
        msgspec.structs.replace(
            one, current_secret=environ[one.current_secret_env], previous_secret=environ.get(one.previous_secret_env, "")
        )
        for one in told.webhook
    )
    return msgspec.structs.replace(told, webhook=hooks)


def _problems(told: Triggers, environ: Mapping[str, str]) -> Iterator[str]:
    names = [*(one.id for one in told.manual), *(one.id for one in told.cron), *(one.id for one in told.webhook)]
    yield from (f"two triggers are called `{name}`" for name in sorted({name for name in names if names.count(name) > 1}))
    for hook in told.webhook:
        if not hook.path.startswith("/") or "{" in hook.path:
            yield f"webhook `{hook.id}`: its path must begin with a slash, and hold no braces"
        if not environ.get(hook.current_secret_env):
            yield f"webhook `{hook.id}`: the variable {hook.current_secret_env} is not set"
        if hook.previous_secret_env and not environ.get(hook.previous_secret_env):
            yield f"webhook `{hook.id}`: the variable {hook.previous_secret_env} is not set"
        if hook.timestamp_window_seconds < 1:
            yield f"webhook `{hook.id}`: timestamp_window_seconds must be 1 or more"
    for one in told.cron:
        try:
            parse_cron(one.expr)
            ZoneInfo(one.tz)
        except BadCron as error:
            yield f"cron `{one.id}`: {error}"
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield f"cron `{one.id}`: there is no time zone `{one.tz}`"
