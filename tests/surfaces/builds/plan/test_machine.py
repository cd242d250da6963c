"""The lives of builds on plans, by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from astrarium.surfaces.builds.machines.build import BuildMachine, EndBuild, StartBuild, build_row
from astrarium.surfaces.builds.machines.kept import instance_key
from astrarium.surfaces.builds.machines.plan.deployment import (
    ActivateDeployment,
    DeploymentMachine,
    RegisterDeployment,
    deployment_row,
)
from astrarium.surfaces.builds.machines.plan.generation import ActivatePlan, AddPlan, ResumeBuild, SetReactive, active_of
from astrarium.surfaces.builds.machines.plan.limit import LimitMachine, RemoveLimit, SetLimit
from astrarium.surfaces.builds.machines.plan.member import (
    AdmitMembers,
    Admitted,
    CreatePlan,
    ExcludeMembers,
    PlanMachine,
    RetirePlan,
    SealPlan,
    member_row,
)
from astrarium.surfaces.builds.machines.plan.order import (
    CancelClaim,
    DescribeExecution,
    PreemptExecution,
    RegisterInstance,
    ReleaseClaim,
    RenewClaim,
    ReportExecution,
    RetryTask,
    SkipMember,
    StopExecution,
    YieldTask,
)
from astrarium.surfaces.builds.machines.plan.row import DEPLOYMENTS
from astrarium.surfaces.builds.machines.plan.wake import (
    AcquireLease,
    AskForTick,
    HandOut,
    ReleaseLease,
    RenewLease,
    TakeFlag,
    TellTick,
    WakeMachine,
)
from astrarium.surfaces.builds.machines.report import StartTask, TaskStarted
from astrarium.surfaces.builds.machines.row import BUILDS, TASK_STATES
from astrarium.surfaces.builds.machines.task import TaskMachine, TaskState, state_row
from tests.contracts.machine import START, Life, MachineContract

pytestmark = pytest.mark.all
SECOND = 1_000_000
BUILD, PLAN = st.sampled_from(("b1", "b2")), st.sampled_from(("p1", "p2"))
EXECUTION, TEXT = st.sampled_from(("x1", "x2", "x3")), st.one_of(st.none(), st.text(max_size=4))
KEY = instance_key("d", "s", "h1")
EDGES = st.lists(st.sampled_from((("h2", "t2"), ("h3", "t3"))), max_size=2).map(tuple)
REGISTER = st.builds(
    RegisterInstance, BUILD, PLAN, st.just("d"), st.just("s"), st.sampled_from(("h1", "h4")), st.uuids().map(str), st.just("n"),
    st.sampled_from(("body", "body", "other")), st.just("ns"), st.just("1"), TEXT, st.one_of(st.none(), EDGES), st.booleans(),
    st.integers(START - SECOND, START + 5 * SECOND),
)  # fmt: skip
CLAIM = st.builds(StartTask, BUILD, EXECUTION, PLAN, st.integers(START, START + 9 * SECOND))
REPORT = st.builds(
    ReportExecution, BUILD, PLAN, EXECUTION, st.sampled_from(("completed", "failed", "suspended", "interrupted")), TEXT
)


class TestTaskOfPlans(MachineContract):
    """A start is put in its older writing: in its newer one it depends on lives that are not here."""

    machine = TaskMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "task:local/t1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        if not life.log:
            return data.draw(REGISTER)
        return data.draw(
            st.one_of(
                REGISTER,
                CLAIM,
                CLAIM,
                REPORT,
                REPORT,
                st.builds(DescribeExecution, PLAN, EXECUTION, st.integers(1, 9), TEXT, TEXT),
                st.builds(PreemptExecution, PLAN, EXECUTION),
                st.builds(RenewClaim, EXECUTION, st.integers(0, 9)),
                *(st.builds(kind, BUILD, PLAN) for kind in (RetryTask, SkipMember, CancelClaim)),
                st.builds(ReleaseClaim, BUILD),
                st.builds(StopExecution, EXECUTION, st.sampled_from(("stopped", "lost"))),
                st.builds(
                    YieldTask,
                    BUILD,
                    PLAN,
                    EXECUTION,
                    st.sampled_from(("y1", "y2")),
                    st.just(KEY),
                    EDGES,
                    st.booleans(),
                    st.just({}),
                ),
            )
        )

    def rows_of(self, state: TaskState) -> list[Any]:
        return [(TASK_STATES, state_row(state))] if state.kept.number else []


class TestBuildOfPlans(MachineContract):
    machine = BuildMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "build:b1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        outcomes = st.sampled_from(("completed", "failed", "cancelled", "exit_early"))
        return data.draw(
            st.one_of(
                st.builds(StartBuild, st.just("calm-owl-10"), TEXT, TEXT, st.just(("r",)), st.just("")),
                st.builds(EndBuild, outcomes, TEXT, st.just(""), st.just(True)),
                st.builds(AddPlan, PLAN, st.sampled_from(("d1", "d2")), st.sampled_from(("s1", "s2"))),
                st.builds(ActivatePlan, PLAN),
                st.builds(ResumeBuild, st.sampled_from(("", "p1", "p2")), st.one_of(st.none(), st.just({"a": 1}))),
                st.builds(SetReactive, st.sampled_from("ab")),
            )
        )

    def rows_of(self, state: Any) -> list[Any]:
        plans = state.kept.plans
        assert sum(one.active for one in plans.values()) <= 1, "at most one active plan"
        scopes = [(one.deployment, one.settings) for one in plans.values()]
        assert len(set(scopes)) == len(scopes), "one plan of a scope"
        return [(BUILDS, build_row(state))] if state.kept.number else []


class TestPlan(MachineContract):
    machine = PlanMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "plan:p1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        admitted = st.builds(
            Admitted, st.sampled_from(("t1", "t2", "t3")), st.sampled_from(("h1", "h2")),
            st.sampled_from(("root", "static", "dynamic", "closure")),
        )  # fmt: skip
        return data.draw(
            st.one_of(
                st.builds(CreatePlan, BUILD, st.just("d"), st.just("s"), st.just({"a": "b"})),
                st.builds(AdmitMembers, st.lists(admitted, max_size=3).map(tuple)),
                st.just(SealPlan()),
                st.builds(ExcludeMembers, st.sampled_from(("t1", "t2")), st.just("operator"), st.just(("t3",))),
                *([st.just(RetirePlan())] if len(life.log) > 5 else []),
            )
        )

    def rows_of(self, state: Any) -> list[Any]:
        return [member_row(state, task) for task in state.kept.members]


class TestDeployments(MachineContract):
    machine = DeploymentMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, data.draw(st.sampled_from(("deployments:local/local/c", "deployments:local/modal/app"))), {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        id_ = st.sampled_from(("d1", "d2"))
        return data.draw(
            st.one_of(
                st.builds(RegisterDeployment, id_, st.just("app"), st.sampled_from("cd"), TEXT, TEXT),
                st.builds(ActivateDeployment, id_, TEXT, TEXT),
            )
        )

    def rows_of(self, state: Any) -> list[Any]:
        return [(DEPLOYMENTS, deployment_row(state, id_)) for id_ in state.known]


class TestLimit(MachineContract):
    machine = LimitMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "limit:local/gpu", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        return data.draw(st.one_of(st.builds(SetLimit, st.integers(0, 3)), st.just(RemoveLimit())))

    def rows_of(self, state: Any) -> list[Any]:
        return []


class TestWake(MachineContract):
    machine = WakeMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "wake:b1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        owner, ttl = st.sampled_from(("o1", "o2")), st.integers(5, 60)
        return data.draw(
            st.one_of(
                *(st.just(kind()) for kind in (AskForTick, TakeFlag, HandOut)),
                *(st.builds(kind, owner, ttl) for kind in (AcquireLease, RenewLease)),
                st.builds(ReleaseLease, owner),
                st.builds(TellTick, st.sampled_from("ab"), st.just({"n": 1})),
            )
        )

    def rows_of(self, state: Any) -> list[Any]:
        return []


# -- builds and plans ----------------------------------------------------------------------------------------------------


def test_a_later_plan_is_active_once_it_is_sealed_and_resuming_goes_back() -> None:
    life = Life(BuildMachine(), "build:b1", {})
    for order in (StartBuild("calm-owl-10"), AddPlan("p1", "d1", "s"), ActivatePlan("p1"), AddPlan("p2", "d2", "s")):
        life.submit(order)
    plans = life.state.kept.plans
    assert active_of(plans) == "p1" and plans["p2"].generation == 2
    life.submit(ActivatePlan("p2"))
    assert active_of(plans) == "p2" and plans["p1"].superseded_at
    life.submit(EndBuild("failed", "boom", sticky=True))
    assert life.submit(EndBuild("failed", sticky=True)) == [] and life.submit(EndBuild("completed", sticky=True)) == []
    life.submit(ResumeBuild("p1"))
    assert active_of(life.state.kept.plans) == "p1"
    assert (life.state.kept.status, life.state.kept.resumed, life.state.kept.error) == ("running", True, None)
    assert life.submit(ResumeBuild("p1")) == []


def test_an_end_leaves_work_where_there_are_claims() -> None:
    life = Life(BuildMachine(), "build:b1", {})
    life.submit(StartBuild("calm-owl-10"))
    life.submit(AddPlan("p1", "d1", "s"))
    life.submit(EndBuild("exit_early", sticky=True))
    assert not life.jobs
    life.submit(EndBuild("cancelled", sticky=True))
    assert list(life.jobs) == ["release:b1"]


# -- tasks ---------------------------------------------------------------------------------------------------------------


def told(hash_: str = "h1", observed: bool = False, at: int = START, **more: Any) -> RegisterInstance:
    known: dict[str, Any] = {"upstreams": (), "observed": observed, "observed_at": at} | more
    return RegisterInstance("b1", "p1", "d", "s", hash_, "pk", "n", "body", **known)


def test_observations_may_come_twice_and_in_any_order() -> None:
    life = Life(TaskMachine(), "task:local/t1", {})
    life.submit(told(observed=True))
    assert life.state.kept.status == "completed"
    life.now += 10 * SECOND
    gone, there = told(at=START + 5 * SECOND), told(observed=True, at=START + 3 * SECOND)
    assert "TaskInvalidated" in [type(event).__name__ for event in life.submit(gone)]
    life.submit(there)
    assert life.state.kept.status == "pending", "it was seen before it was gone"
    life.submit(told(observed=True, at=START + 6 * SECOND))
    life.submit(gone)
    assert life.state.kept.status == "completed", "it was completed after it was seen to be gone"


def test_structure_only_grows() -> None:
    life = Life(TaskMachine(), "task:local/t1", {})
    life.submit(told(upstreams=None))
    names = [type(event).__name__ for event in life.submit(told(upstreams=(("h2", "t2"),)))]
    assert "InstanceExpanded" in names
    names = [type(event).__name__ for event in life.submit(told(upstreams=(("h3", "t3"),)))]
    assert "TaskDiverged" in names
    assert life.state.kept.instances[KEY].upstreams == {"h2": "t2", "h3": "t3"}
    assert life.submit(RegisterInstance("b1", "p1", "d", "s", "h1", "pk", "n", "elsewhere", observed_at=START)) == []
    assert life.refusals == 1


def test_an_older_clients_report_takes_a_claim_away() -> None:
    """Builds of both kinds may want one task; who holds no claim is not held back by one."""
    life = Life(TaskMachine(), "task:local/t1", {})
    life.submit(told())
    life.submit(StartTask("b1", "x1", "p1", START + 60 * SECOND))
    life.submit(StartTask("b2"))
    (event,) = life.submit(ReportExecution("b1", "p1", "x1", "completed"))
    assert type(event).__name__ == "ReportRecorded" and life.state.kept.status == "running"
    assert life.state.kept.executions["x1"].claim_outcome == "taken_over"
    assert isinstance(life.log[-3][1], TaskStarted)
