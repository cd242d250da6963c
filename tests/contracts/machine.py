"""What every machine promises (`kernel.machine.Machine`). A subclass gives `lives`: a strategy of fresh lives of its kind, and
`order`, which draws the next command for one.

A life is played without an engine: the facts are drawn or computed here, and everything an engine checks is checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrarium.errors import Bug, Conflict, Forbidden, Held, Invalid, NotFound, Refused, TooMuch
from astrarium.kernel.machine import Known, Machine
from astrarium.kernel.types import Count, Drop, Facts, Job, JobDone, Scope, SlotAsk, SlotFree, SlotGranted, SlotView, Table, Then

contract = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
ANSWERS = (Refused, Invalid, NotFound, Forbidden, Conflict, Held, TooMuch)
"""What a machine may say to an order; anything else is a defect."""
SCOPE = Scope("ws", "local")
START = 1_700_000_000_000_000


class Life:
    """One life with its log, its rows and its owed jobs, kept as the engine would. `slots`: whether it holds a place there, or stands in
    line; who asks while they are `full` stands in line."""

    def __init__(self, machine: Machine[Any], stream: str, things: Mapping[str, Any]) -> None:
        self.machine = machine
        self.known = Known(machine)
        self.stream = stream
        self.things = things
        self.state = machine.new(stream, SCOPE)
        self.now = START
        self.log: list[tuple[int, Any]] = []
        self.rows: dict[Table, dict[Any, tuple[Any, ...]]] = {}
        self.jobs: dict[str, Job] = {}
        self.slots: dict[str, bool] = {}
        self.full = False
        self.refusals = 0

    def submit(self, command: Any) -> list[Any]:
        """Decide a command as the engine does; [] when it was refused or changed nothing."""
        events = self._decide(command)
        for of, row in self.machine.rows(self.state):
            width = len(of.key)
            self.rows.setdefault(of, {})[row[:width]] = row
        return events

    def _decide(self, command: Any) -> list[Any]:
        needs = self.machine.needs(self.state, command)
        slots = {name: self._view(name) for name in needs.slots}
        before = self.machine.dump(self.state)
        try:
            events = self.machine.decide(self.state, command, Facts(self.now, {}, slots, self.things))
        except ANSWERS as answer:
            assert answer.message
            self.refusals += 1
            assert self.machine.dump(self.state) == before, f"{command} was refused and changed something"
            return []
        assert self.machine.dump(self.state) == before, f"deciding {command} changed the state"
        was_ended = self.machine.ended(self.state)
        follow: list[Any] = []
        for body in events:
            self._take(type(command), body, follow)
        if was_ended and events:
            doors = {
                asked for move in self.machine.table if "ended" in move.while_ or move.subject != "run" for asked in move.asked
            }
            assert type(command) in doors, f"{command} left an end"
        for order in follow:
            self._decide(order)
        return events

    def _take(self, asked: type, body: Any, follow: list[Any]) -> None:
        machine, state = self.machine, self.state
        was = machine.status(state, body)
        becomes = self.known.moves.get((was, asked, type(body)))
        assert becomes is not None, f"no row: while {was}, {asked.__name__} gives {type(body).__name__}"
        data = msgspec.json.encode(body)
        decoded = self.known.decode(type(body).__name__, 1, data)
        assert msgspec.json.encode(decoded) == data
        assert decoded == msgspec.json.decode(data, type=type(body))
        machine.evolve(state, body, self.now)
        assert machine.status(state, body) in becomes
        self.log.append((self.now, decoded))
        for effect in machine.react(state, body, self.now):
            if isinstance(effect, Job):
                self.jobs[effect.id] = effect
            elif isinstance(effect, JobDone):
                self.jobs.pop(effect.id, None)
            elif isinstance(effect, SlotAsk):
                held = self.slots.setdefault(effect.name, effect.over or not self.full)
                if held:
                    follow.append(SlotGranted(effect.name, 1))
            elif isinstance(effect, SlotFree):
                self.slots.pop(effect.name, None)
            elif isinstance(effect, Then):
                follow.append(effect.body)
            elif isinstance(effect, Count):
                assert effect.name and effect.amount > 0, f"{effect} counts nothing"
            elif isinstance(effect, Drop):
                assert effect.of in machine.tables, f"{effect} is of a table that is not the machine's"
                self.rows.get(effect.of, {}).pop(effect.key if isinstance(effect.key, tuple) else (effect.key,), None)
            else:
                raise AssertionError(f"{effect} is no effect")

    def _view(self, name: str) -> SlotView:
        return SlotView((self.stream,) if self.slots.get(name) else ())

    # -- other ways to the same state -----------------------------------------------------------------------------------

    def folded(self) -> Any:
        """The state the log alone adds up to."""
        state = self.machine.new(self.stream, SCOPE)
        bodies = [body for _, body in self.log]
        references = self.machine.references(bodies)
        self.machine.provide(state, {key: self.things[key] for key in references})
        for at, body in self.log:
            self.machine.evolve(state, body, at)
        return state

    def reload(self) -> None:
        """Go on from the dump, as another process would."""
        data = self.machine.dump(self.state)
        things = {key: self.things[key] for key in self.machine.dump_references(data)}
        self.state = self.machine.load(self.stream, SCOPE, data, things)
        assert self.machine.dump(self.state) == data


class MachineContract:
    machine: ClassVar[Machine[Any]]

    def born(self, data: st.DataObject) -> Life:
        """A life after its first command, if it needs a special one."""
        raise NotImplementedError

    def order(self, data: st.DataObject, life: Life) -> Any:
        """Any command, sensible ones more often than not."""
        raise NotImplementedError

    def live(self, data: st.DataObject, most: int = 30) -> Life:
        life = self.born(data)
        for _ in range(data.draw(st.integers(0, most))):
            life.now += data.draw(st.sampled_from((0, 1, 1_000_000, 3_600_000_000)))
            life.submit(self.order(data, life))
        return life

    def rows_of(self, state: Any) -> list[tuple[Table, tuple[Any, ...]]]:
        """Every row readers must see of this state, by the fold alone."""
        return []

    @contract
    @given(data=st.data())
    def test_random_orders_meet_only_rows_of_the_table_and_errors_of_the_tree(self, data: st.DataObject) -> None:
        self.live(data)

    @contract
    @given(data=st.data())
    def test_the_log_folds_to_the_state(self, data: st.DataObject) -> None:
        life = self.live(data)
        assert self.machine.dump(life.folded()) == self.machine.dump(life.state)

    @contract
    @given(data=st.data())
    def test_the_log_folds_to_the_rows(self, data: st.DataObject) -> None:
        life = self.live(data)
        for of, row in self.rows_of(life.folded()):
            assert life.rows.get(of, {}).get(row[: len(of.key)]) == row

    @contract
    @given(data=st.data())
    def test_a_dump_folds_on_alike_at_any_moment(self, data: st.DataObject) -> None:
        life = self.born(data)
        for _ in range(data.draw(st.integers(0, 20))):
            if data.draw(st.booleans()):
                life.reload()
            life.submit(self.order(data, life))
        assert self.machine.dump(life.folded()) == self.machine.dump(life.state)

    @contract
    @given(data=st.data())
    def test_the_same_order_twice_is_answered(self, data: st.DataObject) -> None:
        """A repeated report changes nothing or is refused; never a broken promise."""
        life = self.live(data, 15)
        command = self.order(data, life)
        life.submit(command)
        life.submit(command)

    def test_the_table_names_its_own(self) -> None:
        assert {move.gives for move in self.machine.table} == set(self.machine.events)
        for move in self.machine.table:
            assert move.while_ and move.asked and move.becomes
        assert Bug.status == 500, "a broken promise is never an answer"
