"""A run that begins at once is prepared with its first record, where that takes no more than reading files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from astrarium.kernel.types import Facts, Scope
from astrarium.runs.birth import start_run
from astrarium.runs.message import Parent, RunBegan, RunCreated, RunPrepared, StartRun
from astrarium.runs.state import Definition, RunState
from astrarium.runs.work.prepare import prepared_start
from astrarium.spec.graph import Condition, Graph, Node, Prepare

START = StartRun("g", "name", "dags", "alias", params="WHO=you")


def graph(folder: Path, prepare: Prepare | None, **more: Any) -> Graph:
    return Graph("name", nodes=(Node("one", "noop"),), prepare=prepare, base_dir=str(folder), **more)


async def test_parameters_environment_and_dotenv_come_with_the_order(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COLOUR=red\n")
    wanted = Prepare(params="WHO=me N=2", env=(("SHADE", "dark ${COLOUR}"),), dotenv=(".env",))
    made = await prepared_start(START, graph(tmp_path, wanted))
    assert made.resolved is not None
    assert dict(made.resolved.params) == {"WHO": "you", "N": "2"}
    assert dict(made.resolved.env) == {"COLOUR": "red", "SHADE": "dark red"}
    assert (made.resolved.workdir, made.resolved.error, made.resolved.unmet) == (str(tmp_path), "", "")
    assert made.told() == START.told()


@pytest.mark.parametrize(
    ("prepare", "more"),
    [
        (Prepare(params="NOW=`date`"), {}),
        (Prepare(env=(("NOW", "`date`"),)), {}),
        (Prepare(env=(("LOG", "${DAG_RUN_LOG_FILE}"),)), {}),
        (Prepare(when=(Condition("true"),)), {}),
        (Prepare(secrets=({"name": "S", "provider": "env", "key": "S"},)), {}),
        (Prepare(param_schema="schema.json"), {}),
        (Prepare(param_schema={"type": "object", "required": ["MISSING"]}), {}),
        (Prepare(), {"log_dir": "logs"}),
        (Prepare(), {"workdir": "not/there"}),
        (Prepare(), {"base_dir": ""}),
        (None, {}),
    ],
)
async def test_what_takes_more_or_goes_wrong_is_left_to_the_first_job(
    tmp_path: Path, prepare: Prepare | None, more: dict[str, Any]
) -> None:
    assert await prepared_start(START, replace(graph(tmp_path, prepare), **more)) is START
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [{"queue": "q"}, {"parent": Parent("p", 1, 0)}])
async def test_a_run_that_waits_or_has_a_parent_is_prepared_later(tmp_path: Path, more: dict[str, Any]) -> None:
    start = replace(START, **more)
    assert await prepared_start(start, graph(tmp_path, Prepare())) is start


async def test_creation_beginning_and_preparation_are_one_decision(tmp_path: Path) -> None:
    definition = Definition(graph(tmp_path, Prepare(params="WHO=me")))
    order = await prepared_start(START, definition.graph)
    state = RunState(run="r", scope=Scope("personal", "local"), known=definition)
    events = start_run(state, order, Facts(1, slots={}, things={"g": definition}))
    assert [type(event) for event in events] == [RunCreated, RunBegan, RunPrepared]
    assert events[0].start == START
    assert events[2].resolved == order.resolved
    assert events[2].moves
