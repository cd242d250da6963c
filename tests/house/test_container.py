"""What containers are made of and started with: the files, settings and addresses it names are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from astrarium.config import Settings, load_settings
from tests.house.source import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVER: dict[str, Any] = COMPOSE["services"]["astrarium"]
DATABASE: dict[str, Any] = COMPOSE["services"]["postgres"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
DATABASE_URL = re.compile(r"postgresql://\S+")


def settings_with(**more: str) -> Settings:
    """What the server of `compose.yaml` works by. An unknown variable is refused."""
    image = dict(re.findall(r"(ASTRARIUM_\w+)=(\S+)", DOCKERFILE))
    given = {
        name: re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: more.get(*found.groups()), text)
        for name, text in SERVER["environment"].items()
    }
    return load_settings({}, image | given | {"HOME": "/nowhere"}, Path("/nowhere"))


def test_the_server_is_reached_and_asks_who_calls() -> None:
    settings = settings_with()
    assert (settings.host, settings.auth, settings.database_url, settings.data_dir) == ("0.0.0.0", "builtin", "", Path("/data"))
    [port], [volume] = SERVER["ports"], SERVER["volumes"]
    assert port.rpartition(":")[2] == str(settings.port) and f"EXPOSE {settings.port}" in DOCKERFILE
    assert urlsplit(settings.public_url).port == int(port.split(":")[-2])
    name, _, place = volume.partition(":")
    assert name in COMPOSE["volumes"] and place == str(settings.data_dir)
    assert int(SERVER["stop_grace_period"].removesuffix("s")) > settings.drain_timeout_s


def test_the_database_is_the_one_that_is_made() -> None:
    [told] = DATABASE_URL.findall((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    url = urlsplit(settings_with(ASTRARIUM_DATABASE_URL=told).database_url)
    made = DATABASE["environment"]
    assert (url.username, url.path) == (made["POSTGRES_USER"], f"/{made['POSTGRES_DB']}")
    assert f":-{url.password}}}" in made["POSTGRES_PASSWORD"]
    assert COMPOSE["services"][url.hostname or ""] is DATABASE
    assert DATABASE["profiles"] == [url.hostname], "nobody has it who does not ask for it"


def test_health_is_asked_where_it_is_told() -> None:
    python = SERVER["healthcheck"]["test"][-1]
    compile(python, "healthcheck", "exec")
    [asked] = re.findall(r"'(http\S+?)'", python)
    document = (ROOT / "docs" / "reference" / "openapi.json").read_text(encoding="utf-8")
    assert f'"{urlsplit(asked).path}":' in document
    assert urlsplit(asked).port == settings_with().port


def test_what_is_copied_is_there_and_sent_along() -> None:
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()}
    copied = [name for words in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.M) for name in words.split()]
    assert "src" in copied
    for name in copied:
        assert (ROOT / name).exists() and name in sent
