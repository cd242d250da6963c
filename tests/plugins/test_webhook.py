"""One call of another server."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator

import pytest

from astrarium.errors import Forbidden
from astrarium.plugins.steps.webhook import STEP, where
from astrarium.runs.ports import StepFailed
from astrarium.web.egress import Egress
from tests.contracts.step import FakeTry
from tests.specs.notices.receiver import Receiver, free_port, web_server

pytestmark = pytest.mark.net


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def url(receiver: Receiver) -> Iterator[str]:
    with web_server(receiver) as address:
        yield address


async def test_body_headers_and_signature(ctx: FakeTry, receiver: Receiver, url: str) -> None:
    ctx.variables |= {"BODY": '{"a": "$B `id`"}', "KEY": "k", "EVENT": "run.failure"}
    result = await ctx.run(STEP, url=f"{url}/x", body="${BODY}", secret="$KEY", event="$EVENT", headers={"X-Own": "${KEY}"})
    assert (result.outcome, result.output) == ("succeeded", "200")
    one = receiver.taken[0]
    assert (one.path, one.body) == ("/x", b'{"a": "$B `id`"}')
    assert one.headers["x-astrarium-signature"] == "sha256=" + hmac.new(b"k", one.body, hashlib.sha256).hexdigest()
    wanted = {"x-own": "k", "x-astrarium-event": "run.failure", "x-astrarium-delivery": "run-1"}
    assert {name: one.headers[name] for name in wanted} == wanted
    assert one.headers["content-type"] == "application/json"


async def test_data_becomes_json_and_text_stays_text(ctx: FakeTry, receiver: Receiver, url: str) -> None:
    ctx.variables |= {"N": 'say "hi"'}
    await ctx.run(STEP, url=url, template={"text": "$N", "deep": [{"n": 1, "ok": True}]})
    await ctx.run(STEP, url=url, template="$N!", headers={"Content-Type": "text/markdown"})
    assert json.loads(receiver.taken[0].body) == {"text": 'say "hi"', "deep": [{"n": 1, "ok": True}]}
    assert (receiver.taken[1].body, receiver.taken[1].headers["content-type"]) == (b'say "hi"!', "text/markdown")


@pytest.mark.parametrize(("status", "said"), [(500, "answered 500"), (404, "answered 404"), (302, "redirects are not followed")])
async def test_any_other_answer_fails(ctx: FakeTry, receiver: Receiver, url: str, status: int, said: str) -> None:
    receiver.statuses = [status]
    result = await ctx.run(STEP, url=f"{url}/secret-path?key=hidden", body="{}")
    assert result.outcome == "failed" and said in result.error and len(receiver.asked) == 1
    assert "hidden" not in result.error + ctx.out and "secret-path" not in result.error + ctx.out


async def test_nobody_there(ctx: FakeTry) -> None:
    with pytest.raises(StepFailed) as caught:
        await ctx.run(STEP, url=f"http://127.0.0.1:{free_port()}/hidden", body="{}")
    assert "hidden" not in str(caught.value)


async def test_inside_the_network_nobody_is_called(ctx: FakeTry, receiver: Receiver, url: str) -> None:
    ctx.egress = Egress()
    with pytest.raises(Forbidden):
        await ctx.run(STEP, url=url, body="{}")
    assert not receiver.asked


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "file:///etc/passwd"])
async def test_what_is_no_address_fails(ctx: FakeTry, url: str) -> None:
    with pytest.raises(StepFailed):
        await ctx.run(STEP, url=url, body="{}")


def test_only_the_host_is_shown() -> None:
    assert where("https://u:p@x.example:8443/a?b=c") == "https://x.example:8443"
