"""Archives are made, unpacked and listed; hostile ones do nothing."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from astrarium.plugins.steps import archive_format
from astrarium.plugins.steps.archive import STEP, ArchiveParams
from astrarium.plugins.steps.archive_format import BadArchive, format_of, is_wanted
from astrarium.plugins.steps.archive_work import carry_out
from astrarium.runs.ports import StepFailed
from tests.contracts.step import FakeTry

FORMATS = ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "a.zip"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "one.txt").write_text("one")
    (root / "sub" / "two.log").write_bytes(b"\0\xff" * 50_000)
    (root / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "link").symlink_to("sub/two.log")
    return root


async def report(ctx: FakeTry, operation: str, source: str, **params: Any) -> dict[str, Any]:
    result = await ctx.run(STEP, operation=operation, source=source, **params)
    found: dict[str, Any] = json.loads(result.output or "")
    return found


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def make_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize("name", FORMATS)
async def test_there_and_back(ctx: FakeTry, tree: Path, name: str) -> None:
    ctx.variables["NAME"] = name
    made = await report(ctx, "create", "tree", destination="out/$NAME", verify_integrity=True)
    assert (made["entries"], made["bytes"], made["skipped"]) == (6, 100_013, [])
    assert made["archiveBytes"] == (ctx.workdir / "out" / name).stat().st_size
    back = await report(ctx, "extract", f"out/{name}", destination="back", verify_integrity=True)
    assert back["entries"] == 4
    there = ctx.workdir / "back"
    assert names(there) == names(tree)
    assert (there / "sub/two.log").read_bytes() == (tree / "sub/two.log").read_bytes()
    assert os.readlink(there / "link") == "sub/two.log" and os.access(there / "sub/run.sh", os.X_OK)
    listed = await report(ctx, "list", f"out/{name}")
    assert {one["name"]: one["type"] for one in listed["files"]} == {
        "link": "symlink", "one.txt": "file", "sub": "folder", "sub/empty": "folder", "sub/run.sh": "file", "sub/two.log": "file",
    }  # fmt: skip
    assert names(ctx.workdir / "out") == [name]


async def test_what_is_taken(ctx: FakeTry, tree: Path) -> None:
    await report(ctx, "create", "tree", destination="a.zip", include=["*.txt", "*.log"], exclude=["one*"])
    assert [one["name"] for one in (await report(ctx, "list", "a.zip"))["files"]] == ["sub/two.log"]
    await report(ctx, "create", "tree", destination="b.tar", exclude=["sub"])
    assert [one["name"] for one in (await report(ctx, "list", "b.tar"))["files"]] == ["link", "one.txt"]
    await report(ctx, "create", "tree", destination="c.tar", preserve_paths=False, exclude=["link"])
    assert [one["name"] for one in (await report(ctx, "list", "c.tar"))["files"]] == ["one.txt", "run.sh", "two.log"]
    await report(ctx, "extract", "c.tar", destination="some", include=["*.sh"])
    assert names(ctx.workdir / "some") == ["run.sh"]
    listed = await report(ctx, "list", "c.tar", include=["one.txt"], verbose=True)
    assert listed["entries"] == 1 and ctx.out.splitlines()[-2] == "one.txt"


async def test_stripping_and_flattening(ctx: FakeTry, tree: Path) -> None:
    await report(ctx, "create", "tree", destination="a.tar.gz")
    await report(ctx, "extract", "a.tar.gz", destination="stripped", strip_components="1", exclude=["link"])
    assert names(ctx.workdir / "stripped") == ["empty", "run.sh", "two.log"]
    await report(ctx, "extract", "a.tar.gz", destination="flat", preserve_paths=False, exclude=["link"])
    assert names(ctx.workdir / "flat") == ["one.txt", "run.sh", "two.log"]


async def test_links_are_followed_when_told(ctx: FakeTry, tree: Path) -> None:
    (tree / "sub" / "up").symlink_to("..")
    with pytest.raises(StepFailed, match="a link to a folder it lies in"):
        await report(ctx, "create", "tree", destination="a.tar", follow_symlinks=True)
    assert names(ctx.workdir) == sorted(["log", "log/step.1.out", "log/step.1.err", "tree", *(f"tree/{n}" for n in names(tree))])
    made = await report(ctx, "create", "tree", destination="a.tar", follow_symlinks=True, continue_on_error=True)
    assert len(made["skipped"]) == 1
    kinds = {one["name"]: one["type"] for one in (await report(ctx, "list", "a.tar"))["files"]}
    assert kinds["link"] == "file" and "sub/up" not in kinds


async def test_a_single_file_and_levels(ctx: FakeTry, tree: Path) -> None:
    sizes = {}
    for level in ("-1", "0", "9"):
        made = await report(ctx, "create", "tree/sub/two.log", destination=f"{level}.zip", compression_level=level)
        sizes[level] = made["archiveBytes"]
    assert sizes["0"] > 100_000 > sizes["9"] and sizes["-1"] < 100_000
    assert [one["name"] for one in (await report(ctx, "list", "9.zip"))["files"]] == ["two.log"]


async def test_nothing_happens_on_a_dry_run(ctx: FakeTry, tree: Path) -> None:
    assert (await report(ctx, "create", "tree", dry_run=True, verbose=True))["entries"] == 6
    assert "sub/two.log\n" in ctx.out
    await report(ctx, "create", "tree", destination="a.tar")
    assert (await report(ctx, "extract", "a.tar", destination="back", dry_run=True))["entries"] == 4
    assert not (ctx.workdir / "back").exists()


async def test_what_is_there_is_not_replaced_unless_told(ctx: FakeTry, tree: Path) -> None:
    await report(ctx, "create", "tree", destination="a.tar")
    before = (ctx.workdir / "a.tar").read_bytes()
    with pytest.raises(StepFailed, match="is there already; set `overwrite: true`"):
        await report(ctx, "create", "tree/one.txt", destination="a.tar")
    back = ctx.workdir / "back"
    back.mkdir()
    (back / "one.txt").write_text("mine")
    with pytest.raises(StepFailed, match=r"one\.txt is there already; set `overwrite: true`"):
        await report(ctx, "extract", "a.tar", destination="back")
    assert names(back) == ["one.txt"] and (back / "one.txt").read_text() == "mine"
    skipped = await report(ctx, "extract", "a.tar", destination="back", continue_on_error=True)
    assert (back / "one.txt").read_text() == "mine" and len(skipped["skipped"]) == 1 and (back / "link").is_symlink()
    await report(ctx, "extract", "a.tar", destination="back", overwrite=True)
    assert (back / "one.txt").read_text() == "one" and names(back) == names(tree)
    await report(ctx, "create", "tree/one.txt", destination="a.tar", overwrite=True)
    assert (ctx.workdir / "a.tar").read_bytes() != before


async def test_a_failed_create_leaves_the_old_archive(ctx: FakeTry, tree: Path) -> None:
    (ctx.workdir / "a.tar").write_text("old")
    os.mkfifo(tree / "pipe")
    with pytest.raises(StepFailed, match="neither a file nor a folder"):
        await report(ctx, "create", "tree", destination="a.tar", overwrite=True)
    assert (ctx.workdir / "a.tar").read_text() == "old"
    assert not [path for path in ctx.workdir.iterdir() if path.name.startswith(".astrarium")]


async def test_a_cancel_leaves_the_old_archive_and_no_part(ctx: FakeTry, tree: Path) -> None:
    (ctx.workdir / "a.tar.xz").write_text("old")
    with (tree / "big").open("wb") as file:
        for _ in range(40):
            file.write(os.urandom(1024 * 1024))
    running = asyncio.create_task(report(ctx, "create", "tree", destination="a.tar.xz", overwrite=True, compression_level="9"))
    async with asyncio.timeout(20):
        while not list(ctx.workdir.glob(".astrarium-*")):
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (ctx.workdir / "a.tar.xz").read_text() == "old" and not list(ctx.workdir.glob(".astrarium-*"))


HOSTILE = {
    "up": [(member("../evil"), b"x")],
    "deep up": [(member("a/b/../../../evil"), b"x")],
    "absolute": [(member("/tmp/evil"), b"x")],
    "windows": [(member("C:\\evil"), b"x")],
    "backslashes": [(member("..\\evil"), b"x")],
    "link out": [(member("l", tarfile.SYMTYPE, "../.."), b"")],
    "absolute link": [(member("l", tarfile.SYMTYPE, "/etc"), b"")],
    "through a link": [(member("d", tarfile.SYMTYPE, "."), b""), (member("d/evil"), b"x")],
    "chain of links": [
        (member("a", tarfile.DIRTYPE), b""), (member("a/b", tarfile.SYMTYPE, "."), b""),
        (member("up", tarfile.SYMTYPE, "a/b/../.."), b""),
    ],
    "hard link out": [(member("l", tarfile.LNKTYPE, "../secret"), b"")],
    "absolute hard link": [(member("l", tarfile.LNKTYPE, "/etc/passwd"), b"")],
    "hard link to a link": [(member("s", tarfile.SYMTYPE, "x"), b""), (member("l", tarfile.LNKTYPE, "s"), b"")],
    "device": [(member("null", tarfile.CHRTYPE), b"")],
    "pipe": [(member("pipe", tarfile.FIFOTYPE), b"")],
    "file as a folder": [(member("a"), b"x"), (member("a/b"), b"x")],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_archive_does_nothing(ctx: FakeTry, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    make_tar(tmp_path / "bad.tar", (member("good"), b"g"), *HOSTILE[name])
    before = names(tmp_path)
    with pytest.raises(StepFailed):
        await report(ctx, "extract", "bad.tar", destination="deep/er/out")
    assert [one for one in names(tmp_path) if not one.startswith(("log", "deep"))] == before
    assert not (tmp_path / "deep/er/out").exists() and not Path("/tmp/evil").exists()
    done = await report(ctx, "extract", "bad.tar", destination="deep/er/out", continue_on_error=True)
    assert len(done["skipped"]) == 1 and "good" in names(tmp_path / "deep/er/out") and not Path("/tmp/evil").exists()
    outside = [one for one in names(tmp_path) if not one.startswith(("log", "deep/er/out"))]
    assert outside == sorted([*before, "deep", "deep/er"])


def test_links_of_the_destination_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "d").symlink_to(tmp_path / "elsewhere")
    make_tar(tmp_path / "a.tar", (member("d/x"), b"x"))
    assert "is a link or a file" in unpacked(tmp_path, "a.tar", overwrite=True)["error"]
    assert not list((tmp_path / "elsewhere").iterdir()) and names(tmp_path / "out") == ["d"]


def order(folder: Path, **told: Any) -> dict[str, Any]:
    plain = msgspec.structs.asdict(ArchiveParams(operation="extract", source=""))
    staged = folder / "out" / ".astrarium-test"
    paths = {"destination": str(folder / "out"), "staged": str(staged)}
    return {**plain, **paths, "compression_level": -1, "strip_components": 0, **told}


def unpacked(folder: Path, name: str, **told: Any) -> dict[str, Any]:
    return carry_out(order(folder, source=str(folder / name), **told))


def test_zip_members_are_checked_alike(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil", "/evil", "a/../../evil")):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            archive.writestr(name, "x")
        assert "error" in unpacked(tmp_path, f"{number}.zip")
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        info = zipfile.ZipInfo("l")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "../..")
    assert "leads out" in unpacked(tmp_path, "l.zip")["error"]
    assert not (tmp_path / "out").exists()


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_format, "FREE_BYTES", 1_000_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * 20_000_000)
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 20_000_000
        tar.addfile(info, io.BytesIO(b"\0" * info.size))
    for name in ("a.zip", "b.tar.gz"):
        for policy in (False, True):
            assert "far beyond its own size" in unpacked(tmp_path, name, continue_on_error=policy)["error"]
    assert "far beyond" in unpacked(tmp_path, "b.tar.gz", operation="list")["error"]
    monkeypatch.setattr(archive_format, "MAX_ENTRIES", 5)
    make_tar(tmp_path / "c.tar", *((member(str(number)), b"") for number in range(6)))
    assert "more than 5 entries" in unpacked(tmp_path, "c.tar", continue_on_error=True)["error"]
    assert not (tmp_path / "out").exists()


def test_a_header_of_any_length_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_format, "MAX_READ_BYTES", 100_000)
    info = member("x" * 300_000)
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    assert "header that is too long" in unpacked(tmp_path, "a.tar")["error"]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_broken_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").write_bytes(os.urandom(200_000))
    made = order(
        tmp_path, operation="create", source=str(tmp_path / "f"), destination=str(tmp_path / name), staged=str(tmp_path / "part")
    )
    assert "report" in carry_out(made)
    whole = (tmp_path / name).read_bytes()
    for broken in (whole[:100_000], b"", b"not an archive at all" * 100):
        (tmp_path / name).write_bytes(broken)
        assert name in unpacked(tmp_path, name)["error"] or "cut short" in unpacked(tmp_path, name)["error"]
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_is_found_before_anything_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("f", b"content")
    data = (tmp_path / "a.zip").read_bytes().replace(b"content", b"cOntent")
    (tmp_path / "a.zip").write_bytes(data)
    assert "Bad CRC-32" in unpacked(tmp_path, "a.zip", verify_integrity=True)["error"]


def test_encrypted_zips(tmp_path: Path) -> None:
    """A zip with the old cipher: `f` holds `hello\\n`, the password is `pw` (made by Info-ZIP)."""
    data = bytes.fromhex(ENCRYPTED)
    (tmp_path / "a.zip").write_bytes(data)
    assert "give the `password`" in unpacked(tmp_path, "a.zip")["error"]
    assert "the password is wrong" in unpacked(tmp_path, "a.zip", password="no")["error"]
    assert "report" in unpacked(tmp_path, "a.zip", password="pw")
    assert (tmp_path / "out" / "f").read_text() == "hello\n"


ENCRYPTED = (
    "504b03040a0009000000db3a765d20303a36120000000600000001000000662897ff6ce8c41245a192f78366857875a858504b07082030"
    "3a361200000006000000504b01021e030a0009000000db3a765d20303a361200000006000000010000000000000001000000a481000000"
    "0066504b050600000000010001002f000000410000000000"
)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"source": "none.tar"}, "there is no such archive"),
        ({"source": "folder.tar"}, "not a file"),
        ({"source": "a.rar"}, "cannot tell the format of a.rar"),
        ({"source": "a.rar", "format": "7z"}, "archives of format `7z` are not supported; supported are tar, "),
        ({"source": ""}, "is empty once its variables"),
        ({"source": "a.rar", "compression_level": "11"}, "`compressionLevel` must be a number from -1 to 9"),
        ({"source": "a.rar", "strip_components": "x"}, "`stripComponents` must be a number"),
    ],
)
async def test_wrong_orders(ctx: FakeTry, tmp_path: Path, told: dict[str, Any], why: str) -> None:
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "a.rar").write_bytes(b"x")
    with pytest.raises(StepFailed, match=why):
        await ctx.run(STEP, operation="extract", **told)


def test_formats_by_name() -> None:
    assert [format_of(name, "") for name in ("a.tgz", "B.TAR.XZ", "c.tbz2")] == ["tar.gz", "tar.xz", "tar.bz2"]
    assert format_of("whatever", ".ZIP") == "zip"
    with pytest.raises(BadArchive):
        format_of("a.gz", "")


def test_globs() -> None:
    assert is_wanted("a/b.log", (), ()) and is_wanted("a/b.log", ["*.log"], ()) and is_wanted("a/b.log", ["a/"], ())
    assert not is_wanted("a/b.log", ["*.txt"], ()) and not is_wanted("a/b.log", ["*.log"], ["a"])


def test_names_that_are_no_text(tmp_path: Path) -> None:
    info = member("caf\udce9")
    make_tar(tmp_path / "a.tar", (info, b"x"))
    done = unpacked(tmp_path, "a.tar", verbose=True)
    assert done["report"]["entries"] == 1 and os.listdir(os.fsencode(tmp_path / "out")) == [b"caf\xe9"]
