"""When to try again and go round again, and how long to wait before: pure rules of `Retry`, `Repeat` and `Tolerate`."""

from __future__ import annotations

import math
import re

import msgspec

from ..errors import Invalid
from .condition import BAD_PATTERN
from .expand import Variables, expand_variables
from .graph import Repeat, Retry, Tolerate

MAX_DELAY_S = 366 * 24 * 3600.0
MAX_NUMBER = 10_000_000_000


def settle_retry(retry: Retry, names: Variables) -> Retry:
    """The policy with the templates of `limit` and `interval_s` as numbers. Raises `Invalid` when one is no number ≥ 0."""
    limit = _number("retryPolicy.limit", retry.limit, names)
    if limit != int(limit):
        raise Invalid(f"`retryPolicy.limit` must be a whole number, not {limit}")
    interval_s = _number("retryPolicy.intervalSec", retry.interval_s, names)
    return msgspec.structs.replace(retry, limit=int(limit), interval_s=interval_s)


def _number(name: str, value: float | str, names: Variables) -> float:
    text = expand_variables(value, names) if isinstance(value, str) else value
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MAX_NUMBER:
        raise Invalid(f"`{name}` must expand to a number from 0 to {MAX_NUMBER:,}, not `{text}`")
    return number


def may_retry(retry: Retry, done: int, exit_code: int | None) -> bool:
    """Whether a further try follows after `done` further tries, given how the last one ended. A template nobody settled
    (see `settle_retry`) allows none."""
    if not isinstance(retry.limit, int) or done >= retry.limit:
        return False
    return not retry.exit_codes or exit_code in retry.exit_codes


def retry_delay_s(retry: Retry, done: int) -> float:
    """Seconds before the further try number `done` (from 0): interval × backoffⁿ, capped. An unsettled template waits 0."""
    interval_s = 0.0 if isinstance(retry.interval_s, str) else retry.interval_s
    return delay_s(interval_s, retry.backoff, retry.max_interval_s, done)


def repeat_delay_s(repeat: Repeat, done: int) -> float:
    """Seconds before the next pass when `done` passes ended before the one that just did: the first wait is the interval."""
    return delay_s(repeat.interval_s, repeat.backoff, repeat.max_interval_s, done)


def delay_s(interval_s: float, backoff: float, max_interval_s: float, n: int) -> float:
    """`interval_s` * `backoff`^n, at most `max_interval_s` (0 = no cap of its own), never above a year."""
    wait_s = interval_s
    if backoff and interval_s:
        grown = math.log(interval_s) + n * math.log(backoff)
        wait_s = MAX_DELAY_S if grown >= math.log(MAX_DELAY_S) else interval_s * backoff**n
    if max_interval_s:
        wait_s = min(wait_s, max_interval_s)
    return min(wait_s, MAX_DELAY_S)


def may_repeat(repeat: Repeat, done: int, succeeded: bool, exit_code: int | None, condition_held: bool | None) -> bool:
    """Whether another pass follows after `done` passes. `condition_held` is None when the policy has no condition or it
    was not evaluated. Dagu 1.30: exit codes and conditions may ask for another pass after a failure; otherwise a failing
    pass ends the repeat."""
    if repeat.limit and done >= repeat.limit:
        return False
    if repeat.condition is not None:
        met = bool(condition_held)
    elif repeat.exit_codes:
        met = exit_code in repeat.exit_codes
    else:
        met = succeeded
    return met if repeat.mode == "while" else not met


def tolerates(rule: Tolerate, exit_code: int | None, stdout: str) -> bool:
    """Whether a failure is one dependents may go on after. `stdout` is what the step printed (empty when not asked for)."""
    if rule.failure:
        return True
    if exit_code is not None and exit_code in rule.exit_codes:
        return True
    return any(_found(wanted, stdout) for wanted in rule.output)


def _found(wanted: str, text: str) -> bool:
    if not wanted.startswith("re:"):
        return wanted in text
    try:
        return re.search(wanted[3:], text) is not None
    except BAD_PATTERN:
        return False
