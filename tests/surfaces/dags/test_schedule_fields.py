"""The fields of a DAG file about missed and overlapping slots, and the zone its expressions count in."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.config import load_settings
from astrarium.errors import Invalid
from astrarium.spec.cron import BadSpan, parse_span
from astrarium.surfaces.dags.catalog import Catalog
from astrarium.surfaces.dags.machines.plan import Plan
from astrarium.surfaces.dags.work import zone
from astrarium.surfaces.dags.work.schedule import plan_of, queue_of, saying_of

STEPS = "steps: ['true']\n"


def read(folder: Path, text: str) -> tuple[Plan | None, list[str]]:
    (folder / "a.yaml").write_text(text + STEPS)
    catalog = Catalog(folder, max_bytes=10_000)
    entry = catalog.find("a")
    assert saying_of(entry, catalog, "UTC").trouble == "".join(entry.errors[:1])
    return plan_of(entry, catalog, "UTC"), entry.errors


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("", None),
        ("catchupWindow: 6h\n", None),
        ("schedule: '0 8 * * *'\n", Plan("a", "a.yaml", "UTC", ("0 8 * * *",))),
        ("schedule: ['0 8 * * *', '0 9 * * *']\ncatchupWindow: 6h\n",
         Plan("a", "a.yaml", "UTC", ("0 8 * * *", "0 9 * * *"), catchup="latest", window_s=21_600)),
        ("schedule: '0 8 * * *'\ncatchup: all\ncatchup_window: 90m\noverlap_policy: queue\n",
         Plan("a", "a.yaml", "UTC", ("0 8 * * *",), catchup="all", window_s=5400, overlap="queue")),
        ("schedule: '0 8 * * *'\ncatchup: off\ncatchupWindow: 3600\noverlapPolicy: skip\n", Plan("a", "a.yaml", "UTC", ("0 8 * * *",))),
        ("schedule: {restart: '0 8 * * *', stop: '0 7 * * *'}\nrestartWaitSec: 5\nskipIfSuccessful: true\nname: other\n",
         Plan("other", "a.yaml", "UTC", (), ("0 7 * * *",), ("0 8 * * *",), True, restart_wait_s=5)),
        ("schedule: '0 8 * * *'\nworkerSelector: {gpu: 'true'}\n", Plan("a", "a.yaml", "UTC", ("0 8 * * *",), queued=True)),
    ],
)  # fmt: skip
def test_what_a_file_says(tmp_path: Path, text: str, plan: Plan | None) -> None:
    assert read(tmp_path, text) == (plan, [])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("catchup: always\ncatchupWindow: 1h\n", "a.yaml:1:10: `catchup` must be one of latest, all, off, not `always`"),
        ("catchup: all\n", "a.yaml:1:10: `catchup` needs a `catchupWindow` (say how far back to go, e.g. `catchupWindow: 6h`)"),
        ("overlapPolicy: allow\n", "a.yaml:1:16: `overlapPolicy` must be one of skip, queue, all, cancel, not `allow`"),
        ("catchupWindow: soon\n", "a.yaml:1:16: `catchupWindow` must be a number of seconds above 0, or a time like `90m`"),
        ("catchupWindow: 0\n", "a.yaml:1:16: `catchupWindow` must be a number of seconds above 0"),
        ("catchupWindow: [6h]\n", "a.yaml:1:16: `catchupWindow` must be a number of seconds above 0"),
        ("catchup: all\ncatchupWindow: 400d\n", "a.yaml:2:16: `catchupWindow` must be"),
        ("catchup_window: 1h\ncatchupWindow: 1h\n", "a.yaml:2:1: `catchupWindow` gives the field `catchupWindow` a second time"),
        ("schedule: 'CRON_TZ=Mars/North 0 8 * * *'\n", "a.yaml:1:11: bad schedule `CRON_TZ=Mars/North 0 8 * * *`: unknown time zone"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it(tmp_path: Path, text: str, complaint: str) -> None:
    plan, errors = read(tmp_path, text)
    assert plan is None
    assert any(error.startswith(complaint) for error in errors), errors


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("6h", 21_600), ("1d", 86_400), ("1d12h30m5s", 131_405), (" 1H ", 3600)],
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5", "1.5h", "5 h", "5x", "0", "0h", "367d", "9999999999999", "1h1d", "٣h"])
def test_no_lengths_of_time(text: str) -> None:
    with pytest.raises(BadSpan):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "queue"),
    [("", ("a", 1, False)), ("queue: heavy\n", ("heavy", 4, False)), ("maxActiveRuns: 3\nqueue: other\n", ("other", 3, False)),
     ("maxActiveRuns: -1\n", ("a", 0, True))],
)  # fmt: skip
def test_the_queue_of_a_dag(tmp_path: Path, text: str, queue: tuple[str, int, bool]) -> None:
    dag = Catalog(tmp_path, max_bytes=1000).compile(text + STEPS, "a").dag
    assert queue_of(dag, {"heavy": 4}) == queue


def test_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("TZ", raising=False)
    link, name = tmp_path / "localtime", tmp_path / "timezone"
    monkeypatch.setattr(zone, "LINK", link)
    monkeypatch.setattr(zone, "NAME", name)
    assert zone.zone_name("") == "UTC"
    assert "time_zone" in caplog.text
    name.write_text("Asia/Tokyo\n")
    assert zone.zone_name("") == "Asia/Tokyo"
    link.symlink_to("/usr/share/zoneinfo/Europe/Paris")
    assert zone.zone_name("") == "Europe/Paris"
    monkeypatch.setenv("TZ", ":America/New_York")
    assert zone.zone_name("") == "America/New_York"
    monkeypatch.setenv("TZ", "XYZ9")
    assert zone.zone_name("") == "Europe/Paris"
    assert zone.zone_name("Asia/Kolkata") == "Asia/Kolkata"


def test_a_setting_that_names_no_zone(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        load_settings({}, {"ASTRARIUM_TIME_ZONE": "Mars/North"}, tmp_path)
    assert "Mars/North" in caught.value.problems[0].message
    assert load_settings({}, {"ASTRARIUM_TIME_ZONE": "Europe/Paris"}, tmp_path).time_zone == "Europe/Paris"
