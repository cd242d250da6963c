"""`astrarium graph pack`: packs of one's own signed, checked, trusted."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ..config import Settings
from ..errors import Invalid
from ..runs.routing.rules.pack import clips_problems
from ..spec.ir.installed import API_VERSION, FACTS_VERSION
from ..spec.ir.pack.manifest import KEY_SUFFIX, MANIFEST, RULES, read_manifest, tree_hash, unfit
from ..spec.ir.pack.policy import BUILT_IN_VERSION, REFERENCE
from ..spec.ir.pack.rules import read_rules
from ..spec.ir.pack.signature import fingerprint, judge_pack, sign_pack
from ..surfaces.graphs.work.load import PACKS, Belief, is_fips, read_pack
from .option import AsJson, DataDir, examples, new_app, print_json, settings_of
from .screen import show_rows

APP = new_app()
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A pack's folder: manifest.yaml and rules.clp.")]


@APP.callback()
def pack() -> None:
    """Sign governance packs, check them, and say whose to trust. docs/guide/packs.md shows one from beginning to end."""


@APP.command(epilog=examples("astrarium graph pack sign packs/acme.limits --key acme.pem"))
def sign(
    folder: Folder,
    key: Annotated[
        Path, typer.Option("--key", metavar="FILE", help="The private key, Ed25519 in PEM; made when it is not there.")
    ],
    key_id: Annotated[
        str, typer.Option("--key-id", metavar="ID", help="Its name; the file's without its ending if not given.")
    ] = "",
) -> int:
    """Sign a pack: write manifest.jwt and the public key beside its files. Whatever is changed later is noticed."""
    name = key_id or key.name.partition(".")[0]
    if not KEY_ID.fullmatch(name):
        raise Invalid(f"`{name}` is no id of a key", hint="letters, digits, and _.- after the first", code="usage")
    files = read_pack(folder)
    manifest = read_manifest(files[MANIFEST].decode("utf-8", "replace"), str(folder / MANIFEST))
    private = read_key(key) if key.exists() else make_key(key)
    for path, data in sign_pack(files, private, name, int(time.time()), fips=is_fips()).items():
        (folder / path).write_bytes(data)
    print(f"signed {manifest.id} {manifest.version} with the key {name}, fingerprint {fingerprint(private.public_key())}")
    return 0


@APP.command(epilog=examples("astrarium graph pack verify packs/*"))
def verify(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Packs' folders.")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Check packs: their manifest, their rules, and whether a trusted key signed them as they are.

    Exit code 0 when all of it holds for each, else 1.
    """
    reports = [_report(folder, settings_of(data_dir=data_dir)) for folder in folders]
    if as_json:
        print_json({"packs": reports})
    for report in () if as_json else reports:
        signed = (
            f"signed by {report['key_id']} ({report['fingerprint']})" if report["verified"] else f"unverified: {report['reason']}"
        )
        print(f"{report['folder']}: {report['id']} {report['version']}, {signed}")
        if report["reason"] == "untrusted-key":
            print(
                f"{report['folder']}: `astrarium graph pack trust {report['folder']}/{report['key_id']}{KEY_SUFFIX}` trusts its key"
            )
        for problem in report["problems"]:
            print(f"{report['folder']}: {problem}")
    return 0 if all(report["verified"] and not report["problems"] for report in reports) else 1


def _report(folder: Path, settings: Settings) -> dict[str, Any]:
    files = read_pack(folder)
    manifest = read_manifest(files[MANIFEST].decode("utf-8", "replace"), str(folder / MANIFEST))
    judged = judge_pack(files, msgspec.structs.replace(Belief.of(settings).trust, first_use=False), fips=is_fips())
    text = files.get(RULES, b"").decode("utf-8-sig", "replace")
    read = read_rules(text, manifest.id, manifest.version, ("", str(folder / RULES)), {}, {})
    problems = [*read.defects, *([] if read.defects or not read.pack.constructs else clips_problems(read.pack))]
    why = unfit(manifest.requires, FACTS_VERSION, API_VERSION)
    pem = files.get(f"{judged.key_id}{KEY_SUFFIX}", b"")
    return {
        "folder": str(folder), "id": manifest.id, "version": manifest.version, "verified": not judged.reason, "reason": judged.reason,
        "key_id": judged.key_id, "fingerprint": fingerprint(public_of(pem, judged.key_id)) if not judged.reason else "",
        "tree_hash": tree_hash(files, "SHA-256" if is_fips() else "BLAKE3"),
        "problems": [*([why] if why else []), *map(str, problems)],
    }  # fmt: skip


@APP.command(epilog=examples("astrarium graph pack trust packs/acme.limits/acme.pub.pem"))
def trust(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="A public key: the ID.pub.pem of a pack.")], data_dir: DataDir = None
) -> int:
    """Trust a key: packs it signed count as verified. Where signatures are demanded (`--profile cleared`) no other way leads to that."""
    settings = settings_of(data_dir=data_dir)
    name, print_ = key.name.removesuffix(KEY_SUFFIX), fingerprint(read_public(key))
    if settings.pack_keys:
        hint = f"add {name}={print_} to it"
        raise Invalid("the setting pack_keys says which keys are trusted, and no others are", hint=hint, code="usage")
    Belief.of(settings).keep(name, print_)
    print(f"the key {name} is trusted, fingerprint {print_}")
    return 0


@APP.command("list", epilog=examples("astrarium graph pack list", "astrarium graph pack list graphs/packs"))
def list_(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Where packs lie; `packs` beside the graphs.")] = None,
    data_dir: DataDir = None,
) -> int:
    """List the packs graphs may mount: those of a folder, and those that are built in."""
    settings = settings_of(data_dir=data_dir)
    place = folder or settings.graphs_dir / PACKS
    rows = [
        (report["id"], report["version"], "verified" if report["verified"] else report["reason"], report["folder"])
        for report in (
            _report(path.parent, settings) for path in sorted([*place.glob(f"*/{MANIFEST}"), *place.glob(f"*/*/{MANIFEST}")])
        )
    ]
    rows += [(id_, BUILT_IN_VERSION, "built in", "") for id_ in REFERENCE]
    show_rows(("pack", "version", "signature", "folder"), rows, "")
    return 0


def read_key(path: Path) -> Ed25519PrivateKey:
    """Raises `Invalid`."""
    try:
        found = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid(f"{path} is no private key in PEM without a password: {error}", code="usage") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise Invalid(f"{path} is no Ed25519 key", hint="name a file that is not there, and one is made", code="usage")
    return found


def make_key(path: Path) -> Ed25519PrivateKey:
    made = Ed25519PrivateKey.generate()
    data = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror or error}", code="usage") from None
    print(f"made the private key {path}: keep it, and away from the pack")
    return made


def read_public(path: Path) -> Ed25519PublicKey:
    """Raises `Invalid`."""
    try:
        return public_of(path.read_bytes(), str(path))
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror or error}", code="usage") from None


def public_of(data: bytes, name: str) -> Ed25519PublicKey:
    try:
        found = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(f"{name} is no public key in PEM: {error}", code="usage") from None
    if not isinstance(found, Ed25519PublicKey):
        raise Invalid(f"{name} is no Ed25519 key", code="usage")
    return found
