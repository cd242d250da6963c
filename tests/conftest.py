"""What every test may ask for, and how the suite reports itself.

`ASTRARIUM_REQUIRE=postgres,net` names services whose absence is a failure, not a skip (used by `.ci/run`).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres import PrivatePostgres, find_programs
from tests.sshd import PrivateSshd, find_sshd

ROOT = Path(__file__).parent.parent
RATCHET = ROOT / "tests" / "ratchet.json"
SERVICES = frozenset({"clients", "oidc", "postgres", "prometheus", "net", "sshd", "shared"})
"""What a test may `require`. `clients`: generators of clients; `shared`: example files that are not part of the project."""

COUNTED = pytest.StashKey[Counter[str]]()
WHOLE = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-ratchet", action="store_true", help="write today's numbers into tests/ratchet.json")


def pytest_configure(config: pytest.Config) -> None:
    unknown = _required() - SERVICES
    if unknown:
        raise pytest.UsageError(f"ASTRARIUM_REQUIRE names {sorted(unknown)}, known are {sorted(SERVICES)}")


def _required() -> set[str]:
    return {name.strip() for name in os.environ.get("ASTRARIUM_REQUIRE", "").split(",") if name.strip()}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count before `-m` and `-k` take any away, so that the ratchet sees the whole suite."""
    counted: Counter[str] = Counter(total=len(items))
    for item in items:
        counted.update({marker.name for marker in item.iter_markers() if marker.name in _own_markers(config)})
    config.stash[COUNTED] = counted
    config.stash[WHOLE] = [Path(argument).resolve() for argument in config.args] in ([ROOT / "tests"], [ROOT])


def _own_markers(config: pytest.Config) -> set[str]:
    own = {"all", "slow", "net", "postgres", "crash", "sim", "fuzz"}
    return own & {line.partition(":")[0].strip() for line in config.getini("markers")}


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    if config.getoption("--write-ratchet") and config.stash[WHOLE]:
        from tests.house.source import measure

        RATCHET.write_text(json.dumps({"tests": dict(sorted(config.stash[COUNTED].items())), **measure()}, indent=2) + "\n")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped, by reason."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[told.removeprefix("Skipped: ")] += 1
    if reasons:
        terminalreporter.section("skipped, by reason")
        for reason, number in reasons.most_common():
            terminalreporter.line(f"{number:5} × {reason}")


Require = Callable[[str, bool, str], None]


@pytest.fixture(scope="session")
def require() -> Require:
    """`require(service, available, reason)`: go on, or skip saying why, or fail when ASTRARIUM_REQUIRE names the service."""

    def check(service: str, available: bool, reason: str) -> None:
        assert service in SERVICES, f"unknown service {service}"
        if available:
            return
        if service in _required():
            pytest.fail(f"{service} is required (ASTRARIUM_REQUIRE), but {reason}")
        pytest.skip(f"{service}: {reason}")

    return check


@pytest.fixture(scope="session")
def postgres_server(require: Require) -> Iterator[PrivatePostgres]:
    """A PostgreSQL server of this test process."""
    programs = find_programs()
    require("postgres", programs is not None, "no PostgreSQL programs (initdb, postgres) in PATH or /usr/lib/postgresql")
    assert programs
    server = PrivatePostgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PrivatePostgres) -> str:
    """The URL of the server's maintenance database."""
    return postgres_server.url()


@pytest.fixture(scope="session")
def sshd(require: Require) -> Iterator[PrivateSshd]:
    """An SSH server of this test process."""
    program = find_sshd()
    require("sshd", program is not None, "no OpenSSH server (sshd, ssh-keygen) in PATH or /usr/sbin")
    assert program
    server = PrivateSshd(program)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres_database(postgres_server: PrivatePostgres) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped after the test."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings must not change what tests see."""
    for variable in list(os.environ):
        if variable.startswith("ASTRARIUM_") and variable != "ASTRARIUM_REQUIRE":
            monkeypatch.delenv(variable)
