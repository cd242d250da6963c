"""Class tasks: names, versions, namespaces, equality, what is stored of them and read again."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import pytest
from pydantic import ValidationError

import astrarium as ar
from astrarium.errors import Invalid, NotFound
from astrarium.sdk.task import kind
from astrarium.sdk.task.reference import may_be

T = TypeVar("T")
INT = "gASVFAAAAAAAAACMCGJ1aWx0aW5zlIwDaW50lJOULg=="
"""How Stardag 0.28 writes that an alias loads an int."""


class CtLeaf(ar.Task[int]):
    number: int = 1

    def run(self) -> None:
        self._save(self.number)


class CtTwig(CtLeaf):
    more: int = 2


class CtTree(ar.Task[list[int]]):
    left: ar.SubClass[CtLeaf]
    right: ar.TaskLoads[int]
    rest: list[ar.TaskLoads[int]] = []

    def requires(self) -> ar.TaskStruct:
        return {"left": self.left, "others": [self.right, *self.rest]}

    def run(self) -> None:
        self._save([one.load() for one in ar.tasks_in(self.requires())])


@pytest.fixture(autouse=True)
def _roots(roots: Path) -> None:
    """A folder of their own."""


def test_a_tree_of_tasks_is_built() -> None:
    tree = CtTree(left=CtTwig(number=5), right=CtLeaf(number=6), rest=[CtLeaf(number=7)])
    assert ar.build(tree).task_count.succeeded == 4
    assert tree.load() == [5, 6, 7]


def test_a_body_makes_the_same_task_again() -> None:
    tree = CtTree(left=CtTwig(number=5), right=CtLeaf(number=6))
    again = ar.Task.from_body(tree.body)
    assert again == tree and type(again.left) is CtTwig and again.id == tree.id and hash(again) == hash(tree)
    assert pickle.loads(pickle.dumps(tree)) == tree
    assert CtTree.model_validate(tree.model_dump(mode="json")) == tree
    with pytest.raises(Invalid, match="no longer make"):
        ar.Task.from_body({**tree.body, "left": {"__name": "CtTree", "__namespace": ""}})
    with pytest.raises(NotFound, match=r"no task class named 'gone\.Class'"):
        ar.Task.from_body({"__name": "Class", "__namespace": "gone"})
    with pytest.raises(Invalid, match="no task class named 'CtGone'"):
        ar.Task.from_body({**tree.body, "left": {"__name": "CtGone", "__namespace": ""}})


def test_a_stored_body_of_an_older_or_newer_class_is_read() -> None:
    class CtNewer(ar.Task[int]):
        number: int
        added: Annotated[str, ar.Field(compat_default="old")] = "new"

        def run(self) -> None:
            self._save(1)

    read = ar.Task.from_body({"__name": "CtNewer", "__namespace": "", "version": "", "number": 1, "dropped": 5})
    assert read == CtNewer(number=1, added="old")
    assert CtNewer(number=1, added="old").id != CtNewer(number=1).id
    with pytest.raises(ValidationError):
        CtNewer(number=1, dropped=5)


def test_namespaces_come_from_the_class_or_the_nearest_scope() -> None:
    ar.namespace("pipelines", scope="pkg.jobs")
    ar.auto_namespace("pkg.jobs.daily")
    assert [kind.namespace_of(module) for module in ("pkg", "pkg.jobs", "pkg.jobs.x", "pkg.jobs.daily", "pkg.jobs2")] == [
        "", "pipelines", "pipelines", "pkg.jobs.daily", "",
    ]  # fmt: skip

    class CtPlaced(ar.Task[int]):
        __namespace__ = "a.b"
        __version__ = "7"

        def run(self) -> None:
            self._save(1)

    class CtBelow(CtPlaced):
        pass

    task = CtPlaced()
    assert (CtBelow.get_namespace(), CtBelow().version) == ("a.b", "7"), "what a class says holds for those derived from it"
    assert (task.get_namespace(), task.version) == ("a.b", "7")
    assert f"/a/b/CtPlaced/v7/{str(task.id)[:2]}/{str(task.id)[2:4]}/{task.id}.json" in task.target().uri


def test_two_classes_of_one_name_are_refused_and_the_same_again_is_not() -> None:
    def make(module: str) -> type[ar.Task[Any]]:
        return type("CtSame", (ar.Task[int],), {"__module__": module, "__qualname__": "CtSame", "__namespace__": "same"})

    make("one")
    make("one")
    with pytest.raises(Invalid, match=r"two task classes named 'same.CtSame': one.CtSame and two.CtSame"):
        make("two")


def test_a_generic_class_says_what_it_loads() -> None:
    class CtBox(ar.Task[T], Generic[T]):
        word: str

        def run(self) -> None:
            self._save(self.word)  # type: ignore[arg-type]

    class CtText(CtBox[str]):
        pass

    assert (CtText.loads_type(), CtTwig.loads_type(), CtTree.loads_type()) == (str, int, list[int])
    assert CtText(word="a").target().uri.endswith(".txt")


def test_parts_of_the_path_can_be_chosen() -> None:
    class CtPlace(ar.Task[str]):
        @property
        def _relpath_root(self) -> str:
            return "first/"

        @property
        def _relpath_extra(self) -> str:
            return "x/y"

        @property
        def _relpath_filename(self) -> str:
            return "data"

        @property
        def _relpath_extension(self) -> str:
            return "bin"

        def run(self) -> None:
            self._save("")

    task = CtPlace()
    text = str(task.id)
    assert task._relpath == f"first/CtPlace/x/y/{text[:2]}/{text[2:4]}/{text}/data.bin"


def test_a_field_of_one_class_takes_no_task_of_another() -> None:
    with pytest.raises(ValidationError, match="expected a task of class CtLeaf, found CtTree"):
        CtTree(left=CtTree(left=CtLeaf(), right=CtLeaf()), right=CtLeaf())
    with pytest.raises(ValidationError, match="CtTree loads"):
        CtTree(left=CtLeaf(), right=CtTree(left=CtLeaf(), right=CtLeaf()))


def test_a_task_without_a_body_is_told_so() -> None:
    class CtEmpty(ar.Task[int]):
        pass

    with pytest.raises(Invalid, match="has no body"):
        CtEmpty().run()
    with pytest.raises(Invalid, match="expected a task, or a list or dict of tasks"):
        list(ar.tasks_in([CtLeaf(), 3]))  # type: ignore[list-item]


def test_an_alias_stands_for_a_task_and_cannot_be_made() -> None:
    leaf = CtLeaf(number=3)
    alias = ar.AliasTask[int](aliased=ar.AliasedMetadata.from_task(leaf))
    tree = CtTree(left=leaf, right=alias)
    assert (alias.id, tree.id) == (leaf.id, CtTree(left=leaf, right=leaf).id)
    assert tree.body["right"] == {"__aliased": {"id": str(leaf.id), "uri": leaf.target().uri, "loads_type": INT}}
    assert ar.Task.from_body(tree.body).id == tree.id
    with pytest.raises(ar.BuildFailed, match="an alias cannot make it"):
        ar.build(CtLeaf(number=4) if alias.complete() else alias)
    ar.build(leaf)
    assert alias.complete() and alias.load() == 3
    ar.build(tree)
    assert tree.load() == [3, 3]
    assert ar.AliasTask[int](aliased=ar.AliasedMetadata(id=UUID(int=5), uri="/a/b.json")).body == {
        "__aliased": {"id": str(UUID(int=5)), "uri": "/a/b.json", "loads_type": INT}
    }


def test_only_plain_classes_that_cannot_meet_are_told_apart() -> None:
    assert [may_be(*pair) for pair in ((int, str), (list[int], dict), (str, list[str]))] == [False, False, False]
    allowed = [
        (int, float),
        (dict[str, int], dict),
        (Any, int),
        (int | None, str),
        (bool, int),
        (T, int),
        (Annotated[int, 1], int),
    ]
    assert all(may_be(*pair) for pair in allowed)
