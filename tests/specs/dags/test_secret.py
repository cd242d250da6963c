"""A declared secret reaches the steps and nothing else: put through every field there is, it is in no log, no answer, no file."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.specs.hard.conftest import Served, make_room, serving

pytestmark = [pytest.mark.slow, pytest.mark.net]

VALUE = "p/lanted+Secret=7f1b5c93 &x"
"""Its base64 and URL forms differ from it, and from one another."""
FORMS = {
    "plain": VALUE.encode(),
    "base64": base64.b64encode(VALUE.encode()).rstrip(b"="),
    "inside base64": base64.b64encode(b"user:" + VALUE.encode())[8:-4],
    "url": quote(VALUE, safe="").encode(),
    "json": json.dumps(VALUE)[1:-1].encode(),
}
MADE = "from the step"
EVERYWHERE = """
secrets: [{name: TOKEN, provider: env, key: PLANTED_TOKEN}, {name: FROM_FILE, provider: file, key: token.txt}]
type: graph
steps:
  - {name: printed, command: 'echo "got $TOKEN and $FROM_FILE"; echo "$TOKEN" >&2', output: PRINTED}
  - {name: encoded, command: 'printf "user:%s" "$TOKEN" | base64 -w0; printf %s "$TOKEN" | base64 -w0', output: ENCODED}
  - {name: merged, logOutput: merged, command: 'echo "$TOKEN"; echo "$TOKEN" >&2', output: MERGED}
  - {name: fails, command: 'echo "bad $TOKEN" >&2; exit 3', continueOn: {failure: true}}
  - {name: expanded, env: [{AUTH: "Bearer ${TOKEN}"}, {RUN: "`printenv TOKEN`"}], command: 'echo "$AUTH $RUN"', output: AUTH_SEEN}
  - {name: script, script: 'echo "$TOKEN"', stdout: out.txt, stderr: err.txt}
  - {name: unmet, preconditions: {condition: "$TOKEN", expected: nothing}, command: echo never}
  - {name: unmet too, preconditions: {condition: "`echo $TOKEN`", expected: "re:^nothing$"}, command: echo never}
  - {name: bad env, env: [{X: "`printenv TOKEN; exit 4`"}], command: echo never, output: NEVER, continueOn: failed}
  - {name: repeats, command: 'echo "$TOKEN"', repeatPolicy: {repeat: until, condition: "$TOKEN", expected: x, limit: 2}}
  - {name: tries, command: 'echo "$TOKEN" >&2; false', continueOn: failed, retryPolicy: {limit: "$TOKEN", intervalSec: 0}}
  - {name: filter, type: jq, command: ., script: '{"a": "${TOKEN}"}', output: FILTERED, continueOn: failed}
  - {name: called, call: kid, params: 'GIVEN="${TOKEN}"', continueOn: failed}
  - {name: many, call: kid, parallel: ["${TOKEN}"], continueOn: failed}
  - {name: no address, type: http, command: 'GET http://127.0.0.1:1/?q=${TOKEN}', continueOn: failed}
  - {name: no program, shell: direct, command: '${TOKEN}', continueOn: failed}
  - {name: no folder, workingDir: '/proc/${TOKEN}', command: echo never, continueOn: failed}
  - {name: asks, type: hitl, config: {prompt: 'may ${TOKEN} go?', input: [NOTE]}}
  - {name: told, depends: asks, command: 'echo "$NOTE $TOKEN"', output: TOLD}
handlerOn: {exit: {command: 'echo "exit $TOKEN"'}}
---
name: kid
params: GIVEN=none ITEM=none
steps: [echo]
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    room = make_room(tmp_path_factory.mktemp("secret"), PLANTED_TOKEN=VALUE, SHELL="/bin/sh")
    (room.dags / "token.txt").write_text("second-" + VALUE + "\n")
    with serving(room) as server:
        yield server


def leaks(data: bytes) -> list[str]:
    return [name for name, form in FORMS.items() if form in data]


def written(folder: Path) -> dict[str, list[str]]:
    """Every file below the folder that holds a form of the secret."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            if seen := leaks(data):
                found[str(path.relative_to(folder))] = seen
    return found


def test_through_every_field(served: Served) -> None:
    served.add("everywhere.yaml", EVERYWHERE)
    run = str(served.call("POST", "/dags/everywhere/start", {}).json()["dagRunId"])

    def waits() -> bool:
        nodes = {node["step"]["name"]: node["statusLabel"] for node in served.run(run, "everywhere")["nodes"]}
        return (
            set(nodes.values()) <= {"succeeded", "failed", "skipped", "waiting", "not_started", "aborted"}
            and nodes["asks"] == "waiting"
        )

    from tests.specs.cli.room import until

    until(waits, "the question", 60)
    asked = served.get(f"/dag-runs/everywhere/{run}")
    assert not leaks(json.dumps(asked, ensure_ascii=False).encode())
    answer = served.call("POST", f"/dag-runs/everywhere/{run}/steps/asks/approve", {"inputs": {"NOTE": MADE}})
    assert answer.status_code == 200, answer.text
    ended = served.ended(run, "everywhere")
    nodes = {node["step"]["name"]: node for node in ended["nodes"]}
    good = ("printed", "encoded", "merged", "expanded", "script", "repeats", "told")
    assert {name: nodes[name]["statusLabel"] for name in good} == dict.fromkeys(good, "succeeded"), ended
    assert nodes["called"]["error"].startswith("the secret `TOKEN` cannot be a parameter of `kid`")
    assert nodes["many"]["error"].startswith("the secret `TOKEN` cannot be a parameter of `kid`")
    assert "no further try" in nodes["tries"]["error"]
    texts = [
        json.dumps(ended, ensure_ascii=False),
        json.dumps(served.get(f"/dag-runs/everywhere/{run}/outputs"), ensure_ascii=False),
    ]
    for name in nodes:
        for stream in ("stdout", "stderr"):
            answer = served.call("GET", f"/dag-runs/everywhere/{run}/steps/{quote(name)}/log", stream=stream)
            texts.append(answer.text if answer.status_code != 200 else answer.json()["content"])
    for path in ("/dags/everywhere", "/dag-runs", f"/dag-runs/everywhere/{run}/log", "/dags/everywhere/dag-runs"):
        texts.append(served.call("GET", path).text)
    assert [text for text in texts if leaks(text.encode())] == []
    assert "*******" in texts[1]
    served.room.call("status", "everywhere")
    assert written(served.room.data) == {}
    (served.room.dags / "token.txt").rename(served.room.folder / "token.txt")
    try:
        assert written(served.room.dags) == {}
    finally:
        (served.room.folder / "token.txt").rename(served.room.dags / "token.txt")


DECLARED = "secrets: [{name: TOKEN, provider: file, key: token.txt}]\n"


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("env: [{X: '`cat token.txt`'}]", "env: the value of `X` holds the secret `TOKEN` and would be recorded with the run"),
        ("params: 'X=`cat token.txt`'", "params: the value of `X` holds the secret `TOKEN` and would be recorded with the run"),
        ("params: 'X=`cat token.txt; exit 3`'", "failed with exit code 3: *******"),
        ("preconditions: [{condition: '`cat token.txt`', expected: x}]", "*******"),
        ("env: [{X: '`cat token.txt >&2; exit 5`'}]", "failed with exit code 5: *******"),
    ],
)
def test_what_would_be_recorded_is_refused_or_masked(served: Served, root: str, said: str) -> None:
    run = served.begin(DECLARED + root + "\nsteps: [echo]\n", name="recorded", baseDir=str(served.room.dags))
    ended = served.ended(run, "recorded")
    shown = json.dumps(ended, ensure_ascii=False) + served.call("GET", f"/dag-runs/recorded/{run}/log").text
    assert ended["statusLabel"] in ("failed", "aborted")
    assert not leaks(shown.encode())
    assert said in shown
    assert written(served.room.data) == {}


def test_a_provider_that_is_not_there_is_told_with_those_that_are(served: Served) -> None:
    told = served.call("POST", "/dags/validate", {"spec": "secrets: [{name: A, provider: vault, key: k}]\nsteps: [x]"}).json()
    assert told["errors"] == ["spec:1:31: `provider` must be the name of an installed secret provider (env, file), not `vault`"]


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("{name: A, provider: env, key: NOT_THERE}", "secret A: the variable 'NOT_THERE' is not set"),
        (
            "{name: A, provider: env, key: ASTRARIUM_MASTER_KEY}",
            "secret A: the variable 'ASTRARIUM_MASTER_KEY' is the server's own",
        ),
        (
            "{name: A, provider: env, key: DAGU_BASICAUTH_PASSWORD}",
            "secret A: the variable 'DAGU_BASICAUTH_PASSWORD' is the server's",
        ),
        ("{name: A, provider: file, key: not-there}", "secret A: there is no file"),
        ("{name: A, provider: file, key: /}", "secret A: the file / cannot be read"),
    ],
)
def test_a_secret_that_cannot_be_read(served: Served, secret: str, said: str) -> None:
    run = served.begin(f"secrets: [{secret}]\nsteps: [echo]\n", name="unread")
    assert served.ended(run, "unread")["statusLabel"] == "failed"
    assert said in served.get(f"/dag-runs/unread/{run}/log")["content"]
