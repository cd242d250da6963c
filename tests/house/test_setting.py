"""Every setting is in the documentation, with its default and its meaning."""

from __future__ import annotations

import msgspec

from astrarium.config import MEANINGS, RANGES, Settings, reference
from tests.house.source import ROOT


def test_every_setting_has_a_meaning() -> None:
    fields = {field.name for field in msgspec.structs.fields(Settings)} - {"sources"}
    assert fields == set(MEANINGS)
    assert set(RANGES) <= fields


def test_the_reference_page_is_up_to_date() -> None:
    page = ROOT / "docs" / "reference" / "settings.md"
    assert page.read_text(encoding="utf-8") == reference(), "python -m astrarium.config > docs/reference/settings.md"
