"""`import astrarium as ar`: cheap, and every name there is."""

from __future__ import annotations

import subprocess
import sys

import pytest

import astrarium as ar
from astrarium.sdk import names


def test_every_name_resolves_and_no_other_does() -> None:
    assert all(getattr(ar, name) is getattr(names, name) for name in names.__all__)
    assert sorted(names.__all__) == names.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ar.nothing


def test_the_package_loads_nothing_until_it_is_asked() -> None:
    code = "import sys, astrarium; print([one for one in ('pydantic', 'httpx2', 'msgspec', 'rich') if one in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_tasks_load_no_client_libraries() -> None:
    heavy = "('httpx2', 'rich.progress', 'pandas', 'obstore', 'fastapi', 'sqlalchemy')"
    code = f"import sys, astrarium as ar; ar.task, ar.build; print([one for one in {heavy} if one in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
