"""`astrarium graph pack`: what its commands say and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest

from .command import Ran, move_in

RULES = "(defrule noted (node-id (id ?n)) => (assert (bosun.audit (kind step) (detail ?n))))\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = move_in(tmp_path, monkeypatch)
    (home / "noting").mkdir()
    (home / "noting" / "manifest.yaml").write_text('id: noting\nversion: "1.0"\n')
    (home / "noting" / "rules.clp").write_text(RULES)
    return home


@pytest.fixture
def ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    return Ran(capsys)


def test_a_pack_is_signed_checked_and_trusted(ran: Ran, folder: Path) -> None:
    assert "unverified: sidecar-unreadable" in ran("graph", "pack", "verify", "noting", code=1)
    told = ran("graph", "pack", "sign", "noting", "--key", "keys.pem", "--key-id", "acme")
    assert "made the private key keys.pem" in told and "signed noting 1.0 with the key acme" in told
    assert (folder / "keys.pem").stat().st_mode & 0o777 == 0o600
    told = ran("graph", "pack", "verify", "noting", code=1)
    assert "unverified: untrusted-key" in told and "graph pack trust noting/acme.pub.pem" in told
    ran("graph", "pack", "trust", "noting/acme.pub.pem")
    assert "noting: noting 1.0, signed by acme (" in ran("graph", "pack", "verify", "noting")
    (folder / "noting" / "rules.clp").write_text(RULES + "; more\n")
    (report,) = ran.json("graph", "pack", "verify", "noting", code=1)["packs"]
    assert (report["verified"], report["reason"], report["problems"]) == (False, "tree-hash-mismatch", [])
    told = ran("graph", "pack", "sign", "noting", "--key", "keys.pem", "--key-id", "acme")
    assert "made" not in told, "the key is there already"
    assert "signed by acme" in ran("graph", "pack", "verify", "noting")


def test_defects_of_a_pack_have_their_places(ran: Ran, folder: Path) -> None:
    (folder / "noting" / "rules.clp").write_text("\n  (system 1)\n")
    (folder / "noting" / "manifest.yaml").write_text('id: noting\nversion: "1.0"\nrequires: {api_version: "7"}\n')
    told = ran("graph", "pack", "verify", "noting", code=1)
    assert "noting/rules.clp:2:3: `system` is no construct of a pack" in told
    assert "it needs API version 7, this is 1" in told


def test_packs_are_listed(ran: Ran) -> None:
    told = ran("graph", "pack", "list", ".")
    assert "noting" in told and "stargraph.bosun.audit" in told and "built in" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sign", "nothing", "--key", "k.pem"), "nothing is no pack"),
        (("sign", "noting", "--key", "noting/rules.clp", "--key-id", "k"), "is no private key"),
        (("sign", "noting", "--key", "k.pem", "--key-id", "../k"), "is no id of a key"),
        (("sign", "noting", "--key", "none/k.pem"), "cannot be written"),
        (("verify", "nothing"), "nothing is no pack"),
        (("trust", "noting/rules.clp"), "is no public key"),
        (("trust", "none.pub.pem"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told(ran: Ran, words: tuple[str, ...], said: str) -> None:
    ran("graph", "pack", *words, code=1 if "nothing" in words else 2)
    assert said in ran.err


def test_where_a_setting_names_the_keys_no_other_is_trusted(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    ran("graph", "pack", "sign", "noting", "--key", "acme.pem")
    monkeypatch.setenv("ASTRARIUM_PACK_KEYS", f"acme={'0' * 64}")
    assert "fingerprint-mismatch" in ran("graph", "pack", "verify", "noting", code=1)
    ran("graph", "pack", "trust", "noting/acme.pub.pem", code=2)
    assert "pack_keys" in ran.err
    monkeypatch.setenv("ASTRARIUM_PACK_KEYS", "acme")
    ran("graph", "pack", "verify", "noting", code=2)
    assert "names no key" in ran.err
