"""Tasks written once for two libraries: run with `astrarium` or `stardag` as argument, prints what each task is known by, as JSON.

Only what both offer is used; where the names differ, the one of Stardag is given ours."""

import datetime as dt
import decimal
import enum
import importlib
import json
import random
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel

ar = importlib.import_module(sys.argv[1])
if sys.argv[1] == "stardag":
    ar.Field, ar.Model = ar.StardagField, ar.StardagBaseModel
    import stardag.target.serialize  # noqa: F401


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Plain(BaseModel):
    a: int = 1
    b: str = "x"


class Part(ar.Model):
    a: int = 1
    since: Annotated[int, ar.Field(compat_default=2)] = 2
    threads: Annotated[int, ar.Field(significant=False)] = 4


@ar.task
def numbers(limit: int) -> list[int]:
    return list(range(limit))


@ar.task
def total(values: ar.Depends[list[int]]) -> int:
    return sum(values)


@ar.task(version="2")
def report(value: int, title: str = "a") -> str:
    return f"{title}{value}"


@ar.task(name="other_name", relpath="fixed/place.bin")
def renamed(flag: bool, when: dt.date | None = None) -> bytes:
    return b""


@ar.task
async def waits(word: str, pairs: dict[str, float]) -> dict[str, Any]:
    return {}


class Leaf(ar.Task[int]):
    a: int

    def run(self):
        self._save(self.a)


class Twig(Leaf):
    b: int = 2


class Branch(ar.Task[dict[str, int]]):
    __namespace__ = "some.space"
    __version__ = "7"
    leaf: ar.SubClass[Leaf]
    more: list[ar.TaskLoads[int]] = []
    named: dict[str, ar.TaskLoads[int]] = {}
    maybe: ar.TaskLoads[int] | None = None
    part: Part = Part()
    parts: list[Part] = [Part(since=3)]
    plain: Plain = Plain()

    def run(self):
        self._save({})


class Bough(Branch):
    length: float | None = None


class Everything(ar.Task[float]):
    text: str = 'é\u2028"\\'
    number: float = 1
    small: float = 1e-7
    when: dt.datetime = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    day: dt.date = dt.date(2021, 2, 3)
    span: dt.timedelta = dt.timedelta(seconds=5, microseconds=3)
    data: bytes = b"ab"
    path: Path = Path("/x/y")
    exact: decimal.Decimal = decimal.Decimal("1.10")
    key: uuid.UUID = uuid.UUID(int=7)
    color: Color = Color.BLUE
    word: Literal["a", "b"] = "b"
    several: tuple[int, ...] = (2, 1)
    ids: set[int] = {3, 1, 2}
    deep: list[frozenset[str]] = [frozenset("zab")]
    leaves: ar.HashableSet[ar.SubClass[Leaf]] = frozenset()
    any: Any = None
    added: Annotated[int | None, ar.Field(compat_default=None)] = None
    threads: Annotated[int, ar.Field(significant=False)] = 4

    def run(self):
        self._save(0.0)


def tasks():
    rng = random.Random(41)
    word = lambda: "".join(rng.choice("abcé ü/") for _ in range(rng.randint(0, 6)))  # noqa: E731
    for limit in range(8):
        yield numbers(limit=limit * 17 - 3)
        yield total(values=numbers(limit=limit))
        yield report(value=total(values=numbers(limit=limit)), title=word())
        yield report(value=rng.randint(-(10**12), 10**12))
        yield renamed(flag=rng.random() < 0.5, when=dt.date(2020, 1, 1 + limit))
        yield waits(word=word(), pairs={word(): rng.random() * 10 ** rng.randint(-9, 20) for _ in range(3)})
        yield Leaf(a=limit)
        yield Branch(
            leaf=rng.choice([Leaf(a=limit), Twig(a=limit, b=3)]),
            more=[Leaf(a=rng.randint(0, 9)) for _ in range(rng.randint(0, 3))],
            named={word(): Leaf(a=1)},
            maybe=rng.choice([None, Twig(a=1)]),
            part=Part(a=rng.randint(0, 5), since=rng.randint(1, 3), threads=rng.randint(1, 9)),
        )
        yield Everything(
            text=word(),
            number=rng.choice([0, -0.5, 1e300]),
            ids=set(rng.sample(range(99), 5)),
            leaves=frozenset(rng.choice([Leaf, Twig])(a=number) for number in range(limit)),
            any=rng.choice([None, 1, "x", [1, {"k": 2.5}]]),
            added=rng.choice([None, 5]),
            threads=rng.randint(1, 9),
        )
    yield Everything()
    yield Bough(leaf=Leaf(a=1), length=2)
    yield Leaf(a=1, version="9")


def built():
    """A small build: whoever comes second finds it made."""
    top = report(value=total(values=numbers(limit=4)), title="é")
    made = [str(task.id) for task in (numbers(limit=4), total(values=numbers(limit=4)), top) if not task.complete()]
    ar.build([top, Leaf(a=3), waits(word="a", pairs={"b": 0.5})])
    return {"made": made, "loaded": [top.load(), total(values=numbers(limit=4)).load(), Leaf(a=3).load()]}


if __name__ == "__main__" and len(sys.argv) > 2:
    print(json.dumps(built()))
elif __name__ == "__main__":
    told = [
        {"name": task.get_name(), "id": str(task.id), "instance_hash": str(task.instance_hash), "uri": task.target().uri}
        for task in tasks()
    ]
    print(json.dumps(told))
