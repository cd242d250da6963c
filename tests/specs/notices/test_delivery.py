"""Mails and webhooks about runs reach a real SMTP server and a real HTTP receiver, whatever is down in between. Most tests share one
server, each with DAGs of its own."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.specs.notices.place import Place, until
from tests.specs.notices.receiver import Mailbox, Receiver, free_port, mail_server, web_server

pytestmark = [pytest.mark.all, pytest.mark.net, pytest.mark.slow]
MakePlace = Callable[..., Place]
MAIL = """
mailOn: {{failure: true, success: true}}
smtp: {{host: 127.0.0.1, port: "{port}", username: robot, password: "${{PASSWORD}}"}}
errorMail: {{from: dags@example.org, to: [ops@example.org, boss@example.org], prefix: "[FAIL]", attachLogs: true}}
infoMail: {{from: dags@example.org, to: ops@example.org}}
secrets: [{{name: PASSWORD, provider: env, key: MAIL_PASSWORD}}]
"""
FAILS = """
steps:
  - {name: fetch, command: echo fetched}
  - {name: load, command: "echo '<b>`id` $HOME</b>'; exit 3"}
"""
FINE = "steps: [{name: one, command: echo hello}]\n"


def hook(url: str, more: str = "") -> str:
    return f"notify: [{{webhook: '{url}/hook?key=hidden', on: [failure, success, abort, wait]{more}}}]\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The server of this module."""
    made = Place(
        tmp_path_factory.mktemp("notices") / "place", MAIL_PASSWORD="open sesame", HOOK_KEY="k3y",
        ASTRARIUM_PUBLIC_URL="https://dags.example.org", ASTRARIUM_NOTICE_TRIES="5",
    )  # fmt: skip
    made.start()
    yield made
    made.close()


def test_a_mail_tells_of_a_failure_with_its_steps_and_logs(place: Place) -> None:
    port, box = free_port(), Mailbox()
    place.add("etl", MAIL.format(port=port) + FAILS)
    with mail_server(box, port):
        run = place.run("etl")
        until(lambda: box.mails)
    mail = box.mails[0]
    assert mail["Subject"] == "[FAIL] etl (failed)"
    assert (mail["From"], box.to[0]) == ("dags@example.org", ["ops@example.org", "boss@example.org"])
    assert box.logins == [("robot", "open sesame")]
    html = mail.get_body(("html",))
    assert html is not None
    for word in ("fetch", "load", "succeeded", "failed", "exit code 3", run):
        assert word in html.get_content()
    attached = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert attached == {"fetch.1.out": b"fetched\n", "load.1.out": b"<b>`id` $HOME</b>\n"}
    assert place.read("SELECT count(*) FROM events WHERE body LIKE '%open sesame%'") == [(0,)]
    done = until(lambda: place.deliveries(name="etl", dagRunId=run, status="delivered"))
    assert [(one["kind"], one["event"], one["tries"]) for one in done] == [("mail", "run.failure", 1)]


def test_deliveries_are_no_runs_of_the_dag(place: Place) -> None:
    with web_server(receiver := Receiver()) as url:
        place.add("fine", hook(url) + "queue: only\nmaxActiveRuns: 1\n" + FINE)
        run = place.run("fine")
        until(lambda: receiver.taken)
        until(lambda: place.deliveries(name="fine", status="delivered"))
        assert [one["dagRunId"] for one in place.get("/dag-runs", name="fine")["dagRuns"]] == [run]
        assert place.get("/dags", name="fine")["dags"][0]["latestDAGRun"]["dagRunId"] == run
        assert place.command("runs", "--name", "fine").stdout.count("\n") == 1
        assert len(receiver.asked) == 1, "no notice tells of a notice"


def test_a_webhook_is_signed_and_tells_what_failed(place: Place) -> None:
    with web_server(receiver := Receiver()) as url:
        secrets = "secrets: [{name: KEY, provider: env, key: HOOK_KEY}]\n"
        place.add("signed", hook(url, ", secret: '${KEY} ', headers: {X-Token: '${KEY}'}") + secrets + FAILS)
        run = place.run("signed")
        until(lambda: receiver.taken)
    one = receiver.taken[0]
    signature = hmac.new(b"k3y ", one.body, hashlib.sha256).hexdigest()
    assert one.headers["x-astrarium-signature"] == f"sha256={signature}"
    assert (one.headers["x-token"], one.headers["x-astrarium-event"]) == ("k3y", "run.failure")
    told = json.loads(one.body)
    assert (told["name"], told["dagRunId"], told["status"], told["statusLabel"]) == ("signed", run, 2, "failed")
    assert told["failedSteps"] == [{"name": "load", "status": "failed", "error": "exit code 3", "exitCode": 3}]
    assert told["url"] == f"https://dags.example.org/api/v2/dag-runs/signed/{run}"
    assert told["startedAt"] and told["finishedAt"]
    assert place.read("SELECT count(*) FROM events WHERE body LIKE '%k3y%'") == [(0,)]
    assert "hidden" not in json.dumps(place.deliveries())


def test_a_template_is_filled_and_quoted(place: Place) -> None:
    with web_server(receiver := Receiver()) as url:
        template = "template: {text: '${NOTICE_NAME} ${NOTICE_STATUS}: ${NOTICE_ERROR}', who: ['$WHO', 3]}"
        place.add("filled", f'params: [WHO="it\'s \\"me\\""]\nnotify: [{{webhook: \'{url}/x\', {template}}}]\n' + FAILS)
        place.run("filled")
        until(lambda: receiver.taken)
    assert json.loads(receiver.taken[0].body) == {"text": "filled failed: load: exit code 3", "who": ['it\'s "me"', 3]}


def test_what_refuses_at_first_gets_it_later_and_once(place: Place) -> None:
    port, box, receiver = free_port(), Mailbox(), Receiver()
    receiver.statuses = [500, 503, 302]
    box.answers = ["451 later"]
    with web_server(receiver) as url, mail_server(box, port):
        place.add("later", hook(url) + MAIL.format(port=port) + FAILS)
        run = place.run("later")
        until(lambda: len(place.deliveries(dagRunId=run, status="delivered")) == 2)
        marks = [one.headers["x-astrarium-delivery"] for one in receiver.asked]
        assert marks == [marks[0]] * 4
    assert (len(receiver.taken), len(box.mails)) == (1, 1)
    for one in place.deliveries(name="later"):
        told = place.get(f"/notifications/{one['id']}")["notification"]
        assert len(told["attempts"]) == told["tries"] > 1
        assert all(attempt["error"] for attempt in told["attempts"][:-1]) and "error" not in told["attempts"][-1]
    errors = " ".join(attempt.get("error", "") for attempt in told["attempts"])
    assert "hidden" not in errors


def test_tries_run_out_and_a_person_may_try_again(place: Place) -> None:
    receiver = Receiver()
    receiver.statuses = [500] * 5
    with web_server(receiver) as url:
        place.add("tried", hook(url) + FAILS)
        place.run("tried")
        failed = until(lambda: place.deliveries(name="tried", status="failed"))[0]
        assert (failed["tries"], failed["error"].endswith("answered 500")) == (5, True)
        assert place.call("POST", f"/notifications/{failed['id']}/retry").status_code == 200
        until(lambda: place.deliveries(name="tried", status="delivered"))
        refused = place.call("POST", f"/notifications/{failed['id']}/retry")
        assert (refused.status_code, refused.json()["details"]["reason"]) == (409, "already_delivered")
    assert place.call("GET", "/notifications/nope").status_code == 404
    assert place.call("GET", "/notifications", status="lost").status_code == 400


def test_a_killed_server_delivers_after_its_restart(make_place: MakePlace) -> None:
    """One run has ended and its webhook is just being answered, another is running; the mail server is down until later. A notice is
    owed in the transaction of the end, so there is no moment between the two."""
    place, port, box, receiver = make_place(MAIL_PASSWORD="x"), free_port(), Mailbox(), Receiver()
    receiver.hold = threading.Event()
    with web_server(receiver) as url:
        place.add("etl", hook(url) + FAILS)
        place.add("long", MAIL.format(port=port) + "steps: [{name: one, command: 'echo $$ > pid; sleep 60'}]\n")
        place.start()
        long = place.call("POST", "/dags/long/start").json()["dagRunId"]
        until((place.dags / "pid").exists)
        run = place.run("etl")
        until(receiver.came.is_set)
        place.kill()
        receiver.hold.set()
        receiver.hold = None
        held = len(receiver.asked)
        place.start()
        until(lambda: place.deliveries(dagRunId=run, status="delivered"))
        assert len(receiver.asked) == held + 1
        assert len({one.headers["x-astrarium-delivery"] for one in receiver.asked}) == 1, "a repeated one can be told"
        until(lambda: any(one["tries"] > 1 for one in place.deliveries(dagRunId=long)))
        with mail_server(box, port):
            until(lambda: place.deliveries(dagRunId=long, status="delivered"))
    assert [mail["Subject"] for mail in box.mails] == ["[FAIL] long (failed)"]


def test_a_run_without_a_server_sends_before_it_ends(make_place: MakePlace) -> None:
    place, port, box = make_place(MAIL_PASSWORD="x"), free_port(), Mailbox()
    place.add("etl", MAIL.format(port=port) + FINE)
    with mail_server(box, port):
        done = place.command("run", str(place.dags / "etl.yaml"))
    assert done.returncode == 0, done.stderr
    assert [mail["Subject"] for mail in box.mails] == ["etl (succeeded)"]


def test_waiting_and_stopped_runs_and_single_steps_are_told_of(place: Place) -> None:
    port, box, receiver = free_port(), Mailbox(), Receiver()
    steps = """
steps:
  - {name: shaky, command: 'false', mailOnError: true, continueOn: {failure: true}}
  - {name: gate, type: hitl}
"""
    with web_server(receiver) as url, mail_server(box, port):
        text = hook(url) + MAIL.format(port=port).replace("failure: true, success: true", "failure: false")
        place.add("ask", text + steps)
        run = place.call("POST", "/dags/ask/start").json()["dagRunId"]
        until(lambda: receiver.taken)
        told: dict[str, Any] = json.loads(receiver.taken[0].body)
        assert (told["event"], told["status"], told["step"]) == ("run.wait", 7, "gate")
        until(lambda: box.mails)
        assert box.mails[0]["Subject"] == "[FAIL] ask: shaky (failed)"
        place.call("POST", f"/dag-runs/ask/{run}/stop")
        until(lambda: len(receiver.taken) == 2)
        assert json.loads(receiver.taken[1].body)["event"] == "run.abort"


def test_a_webhook_into_the_servers_own_network_is_refused(place: Place) -> None:
    receiver = Receiver()
    with web_server(receiver) as url:
        place.add("inside", hook(url.replace("127.0.0.1", "127.0.0.2")) + FAILS)
        place.run("inside")
        failed = until(lambda: place.deliveries(name="inside", status="failed"))[0]
    assert "not called" in failed["error"] and not receiver.asked
