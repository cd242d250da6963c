"""The audit log as a machine, and its chain."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from astrarium.kernel.audit import GENESIS, AuditLog, RecordAct, verify_chain
from astrarium.kernel.ports import AUDIT
from tests.contracts.machine import Life, MachineContract

TEXTS = st.text(max_size=8)
DETAILS = st.dictionaries(TEXTS, st.integers(-5, 5) | TEXTS | st.booleans() | st.none(), max_size=3)


class TestContract(MachineContract):
    machine: ClassVar[AuditLog] = AuditLog()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "audit:ws", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        return data.draw(st.builds(RecordAct, TEXTS, TEXTS, TEXTS, DETAILS))


def written(count: int) -> list[tuple[Any, ...]]:
    life = Life(AuditLog(), "audit:ws", {})
    for number in range(count):
        life.submit(RecordAct("user:anna", "run.stopped", f"run:{number}", {"n": number, "a": "é"}))
    return [
        (row[0], row[1], row[2], row[3], row[4], row[5], {"n": n, "a": "é"}, row[7], row[8])
        for n, row in enumerate(life.rows[AUDIT].values())
    ]


def test_an_intact_chain() -> None:
    records = written(4)
    assert records[0][7] == GENESIS
    assert verify_chain(records) is None
    assert verify_chain([]) is None


@pytest.mark.parametrize("field", [2, 3, 4, 5, 6, 7, 8])
def test_an_altered_record_breaks_the_chain(field: int) -> None:
    records = written(4)
    altered = list(records[2])
    altered[field] = {"n": 99} if field == 6 else altered[field] + 1 if field == 2 else altered[field] + "x"
    records[2] = tuple(altered)
    assert verify_chain(records) == 3


def test_a_removed_or_moved_record_breaks_the_chain() -> None:
    records = written(4)
    assert verify_chain([*records[:1], *records[2:]]) == 3
    assert verify_chain(records[1:]) == 2
    assert verify_chain([records[1], records[0]]) == 2
