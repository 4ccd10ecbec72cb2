"""The packing of demand onto worker groups, against what is known of it and the optimum."""

from collections.abc import Sequence

import packing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import UNIT, Group, Plan, Request, Worker

GIB = 2**30


def amounts(**given: float) -> dict[str, int]:
    """Amounts in Ray's own unit."""
    return {name: round(amount * UNIT) for name, amount in given.items()}


def request(*selectors: Sequence[packing.Condition], apart: str = "", **given: float) -> Request:
    """A request of these amounts."""
    conditions = tuple(tuple(selector) for selector in selectors)
    return Request(tuple(amounts(**given).items()), conditions, frozenset(filter(None, [apart])))


def group(name: str = "default", limit: int = 100, **given: float) -> Group:
    """A group of workers with these amounts, labelled as Ray does."""
    return Group(name, amounts(**given), {"ray.io/node-group": name}, limit)


def empty(of: Group) -> Worker:
    """A node of a group on which nothing runs."""
    return Worker(of.name, of.amounts, of.labels)


def full(of: Group) -> Worker:
    """A node of a group on which there is no room."""
    return Worker(of.name, of.amounts, of.labels, free={})


SMALL = group("small", CPU=2, memory=4 * GIB)
LARGE = group("large", CPU=8, memory=16 * GIB)
GPU = group("gpu", CPU=8, memory=16 * GIB, GPU=1)


def new(plan: Plan) -> dict[str, int]:
    """The workers to add, of a plan that leaves nothing over."""
    assert not plan.waiting, plan
    assert not plan.impossible, plan
    return plan.new


def test_nothing_waiting_takes_nobody() -> None:
    assert new(packing.pack([], [SMALL], [])) == {}


def test_tasks_share_new_workers() -> None:
    assert new(packing.pack([], [SMALL], [(request(CPU=1), 5)])) == {"small": 3}


def test_room_on_nodes_comes_first() -> None:
    plan = packing.pack([empty(SMALL)], [SMALL], [(request(CPU=1), 3)])
    assert new(plan) == {"small": 1}
    assert [worker.taken for worker in plan.workers] == [True, True]


def test_node_that_takes_nothing_is_not_taken() -> None:
    plan = packing.pack([full(SMALL)], [SMALL], [(request(CPU=1), 1)])
    assert [worker.taken for worker in plan.workers] == [False, True]


def test_groups_own_limit_holds() -> None:
    only = group("a", 3, CPU=1)
    plan = packing.pack([full(only)], [only], [(request(CPU=1), 5)])
    assert (plan.new, plan.waiting) == ({"a": 2}, [(request(CPU=1), 3)])


def test_workers_beyond_what_has_joined_count_towards_the_limit() -> None:
    only = group("a", 3, CPU=1)
    plan = packing.pack([], [only], [(request(CPU=1), 5)], present={"a": 2})
    assert plan.new == {"a": 1}


def test_demand_goes_on_to_the_next_group() -> None:
    plan = packing.pack([], [group("a", 1, CPU=1), group("b", 9, CPU=2)], [(request(CPU=1), 5)])
    assert new(plan) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (request(CPU=1), "small"),
        (request(CPU=2, memory=6 * GIB), "large"),
        (request(CPU=1, GPU=1), "gpu"),
        (request([("ray.io/node-group", True, frozenset(["large"]))], CPU=1), "large"),
        (request([("ray.io/node-group", False, frozenset(["small"]))], CPU=1), "large"),
    ],
)
def test_request_takes_the_group_that_it_leaves_least_unused_of(
    wanted: Request, chosen: str
) -> None:
    assert new(packing.pack([], [GPU, LARGE, SMALL], [(wanted, 1)])) == {chosen: 1}


def test_tasks_without_gpu_leave_gpus_alone_until_there_is_nothing_else() -> None:
    plan = packing.pack([], [GPU, group("small", 1, CPU=2)], [(request(CPU=2), 2)])
    assert new(plan) == {"small": 1, "gpu": 1}


def test_second_selector_counts_where_the_first_finds_nobody() -> None:
    wanted = request(
        [("zone", True, frozenset(["nowhere"]))],
        [("ray.io/node-group", True, frozenset(["large"]))],
        CPU=1,
    )
    assert new(packing.pack([], [SMALL, LARGE], [(wanted, 1)])) == {"large": 1}


def test_demand_that_no_group_ever_fits_is_named() -> None:
    wanted = request(CPU=4)
    plan = packing.pack([], [SMALL], [(wanted, 7), (request(CPU=1), 1)])
    assert (plan.new, plan.waiting, plan.impossible) == ({"small": 1}, [], [(wanted, 7)])


def test_demand_that_a_busy_node_outside_of_all_groups_fits_is_not_impossible() -> None:
    head = Worker("head", amounts(special=1), {}, free=amounts(special=0))
    plan = packing.pack([head], [SMALL], [(request(special=1), 1)])
    assert (plan.new, plan.waiting) == ({}, [(request(special=1), 1)])


def test_fractions_add_up() -> None:
    assert new(packing.pack([], [group("a", CPU=1)], [(request(CPU=0.1), 10)])) == {"a": 1}


def test_one_per_node_resource_of_rays_takes_a_node_each() -> None:
    wanted = Request((("CPU", UNIT), (packing.IMPLICIT + "app:1", UNIT)))
    assert new(packing.pack([], [LARGE], [(wanted, 3)])) == {"large": 3}


def test_hundred_thousand_tasks_are_not_expanded() -> None:
    plan = packing.pack([], [group("a", 50, CPU=8)], [(request(CPU=0.001), 100_000)])
    assert (plan.new, plan.waiting) == ({"a": 13}, [])


def test_gang_that_spreads_strictly_takes_a_worker_for_each_bundle() -> None:
    gang = [request(CPU=1, apart="pg")] * 3
    assert new(packing.pack([], [LARGE], [], [gang])) == {"large": 3}


def test_gang_that_spreads_strictly_keeps_away_from_its_own_nodes() -> None:
    there = Worker("large", LARGE.amounts, LARGE.labels, apart=frozenset(["pg"]))
    plan = packing.pack([there], [LARGE], [], [[request(CPU=1, apart="pg")]])
    assert new(plan) == {"large": 1}


def test_gang_is_placed_as_a_whole_or_not_at_all() -> None:
    gang = [request(CPU=1)] * 3
    only = group("a", 3, CPU=1)
    plan = packing.pack([full(only)], [only], [(request(CPU=1), 1)], [gang])
    assert plan == ({"a": 1}, plan.workers, [(request(CPU=1), 1)] * 3, [])


def test_gang_of_more_bundles_than_workers_ever_is_impossible() -> None:
    gang = [request(CPU=1, apart="pg")] * 3
    plan = packing.pack([], [group("a", 2, CPU=8)], [], [gang])
    assert (plan.new, len(plan.impossible)) == ({}, 3)


cpus = st.lists(st.integers(1, 10), max_size=7)
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=6)


def optimum(items: list[tuple[int, ...]], capacity: tuple[int, ...]) -> int:
    """The least number of bins for `items`, by trying all ways."""

    def least(at: int, bins: list[tuple[int, ...]]) -> int:
        if at == len(items):
            return len(bins)
        tries = []
        for index, bin_ in enumerate([*bins, capacity]):
            left = tuple(room - part for room, part in zip(bin_, items[at], strict=True))
            if min(left) >= 0:
                tries.append(least(at + 1, [*bins[:index], left, *bins[index + 1 :]]))
        return min(tries)

    return least(0, [])


@settings(max_examples=60, deadline=None)
@given(cpus)
def test_one_resource_takes_no_more_than_first_fit_decreasing_promises(sizes: list[int]) -> None:
    """11/9 of the optimum and 6/9 of a worker: a bound that is proven and tight."""
    plan = packing.pack([], [group("a", CPU=10)], [(request(CPU=size), 1) for size in sizes])
    least = optimum([(size,) for size in sizes], (10,))
    assert least <= new(plan).get("a", 0) <= (11 * least + 6) // 9


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_two_resources_take_less_than_three_times_the_optimum(
    sizes: list[tuple[int, int]],
) -> None:
    """What is proven for every way to fill the first worker with room, in two dimensions."""
    demand = [(request(CPU=cpu, memory=memory), 1) for cpu, memory in sizes]
    plan = packing.pack([], [group("a", CPU=6, memory=6)], demand)
    least = optimum(list(sizes), (6, 6))
    assert least <= new(plan).get("a", 0) <= 3 * least


requests = st.builds(
    lambda cpu, gpu, apart: request(CPU=cpu / 2, GPU=gpu / 2, apart=apart),
    st.integers(0, 8),
    st.integers(0, 3),
    st.sampled_from(["", "pg"]),
)
groups = st.lists(
    st.builds(
        lambda cpu, gpu, limit: group(f"g{cpu}{gpu}{limit}", limit, CPU=cpu, GPU=gpu),
        st.integers(1, 4),
        st.integers(0, 2),
        st.integers(0, 4),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)


@settings(max_examples=150, deadline=None)
@given(groups, st.lists(st.tuples(requests, st.integers(1, 9)), max_size=5))
def test_no_worker_holds_more_than_it_has_and_nothing_is_lost(
    some: list[Group], demand: list[tuple[Request, int]]
) -> None:
    plan = packing.pack([], some, demand)
    assert all(amount >= 0 for worker in plan.workers for amount in worker.free.values())
    assert all(plan.new.get(one.name, 0) <= one.limit for one in some)
    assert all(worker.taken for worker in plan.workers)
    asked = sum(dict(one.amounts)["CPU"] * count for one, count in demand)
    left = sum(dict(one.amounts)["CPU"] * count for one, count in [*plan.waiting, *plan.impossible])
    held = sum(worker.total["CPU"] - worker.free["CPU"] for worker in plan.workers)
    assert asked == held + left


@settings(max_examples=100, deadline=None)
@given(groups, st.lists(st.tuples(requests, st.integers(1, 9)), max_size=4))
def test_what_is_planned_is_enough(some: list[Group], demand: list[tuple[Request, int]]) -> None:
    """Once the new workers are there, the same demand asks for nobody: else it would never end."""
    first = packing.pack([], some, demand)
    amounts_of = {one.name: one for one in some}
    there = [
        Worker(name, amounts_of[name].amounts, amounts_of[name].labels)
        for name, count in first.new.items()
        for _ in range(count)
    ]
    second = packing.pack(there, some, [entry for entry in demand if entry not in first.waiting])
    assert second.new == {}
