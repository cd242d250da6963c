import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from astrarium.spec.ids import base58, child_run_key, is_run_id, new_id, uuid7


def test_uuid7_is_a_version_7_text_and_always_grows():
    made = [uuid7() for _ in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert all(len(text) == 36 and text[14] == "7" and text[19] in "89ab" for text in made)


@given(st.integers(0, 2**47), st.integers(0, 2**47), st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_ids_sort_by_time(early, late, one, two):
    early, late = sorted((early, late))
    if late - early > 0:
        assert new_id(early, one)[:18] <= new_id(late, two)[:18]
    assert len(new_id(early, one)) == 36


def test_base58_known_values():
    assert base58(b"Hello World!") == "2NEpo7TZRRrLZSi2U"
    assert base58(b"\0\0\x28\x7f\xb4\xcd") == "11233QC4"
    assert base58(b"") == ""


def test_child_key_depends_on_every_part():
    keys = {
        child_run_key("a", "b", "c"),
        child_run_key("x", "b", "c"),
        child_run_key("a", "x", "c"),
        child_run_key("a", "b", "x"),
    }
    assert len(keys) == 4
    assert all(is_run_id(key) for key in keys)
    assert child_run_key("a", "b", "c") == child_run_key("a", "b", "c")


def test_run_ids():
    assert is_run_id("a") and is_run_id("_x.1-2") and is_run_id("x" * 128)
    assert not any(is_run_id(text) for text in ("", "-a", ".a", "a/b", "a\n", "x" * 129, "ä"))


def test_a_forked_process_draws_other_numbers() -> None:
    """Random bytes are read many at a time; a child must not go on with those of its parent."""
    program = (
        "import os; from astrarium.spec import ids; ids.uuid7(); reader, writer = os.pipe()\n"
        "if os.fork() == 0: os.write(writer, ids.uuid7()[-16:].encode()); os._exit(0)\n"
        "os.wait(); print(os.read(reader, 16).decode() == ids.uuid7()[-16:])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
