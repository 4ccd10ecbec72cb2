"""What demand asks of each group, and for how long it counts. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from packing import Group, Plan, Worker, pack
from state import State


class Wanted(NamedTuple):
    """How many workers demand wants of each group, and how that came about."""

    workers: dict[str, int]
    plan: Plan


def wanted(state: State, groups: Sequence[Group], sizes: Mapping[str, int]) -> Wanted:
    """Workers that hold work or will, of groups with these `sizes` in Kubernetes.

    What waits may count on workers that have not joined yet. Busy ones ask for no more than there
    are: one that has been told to leave is not to be replaced.
    """
    nodes = [node.worker for node in state.nodes]
    joined = {group.name: sum(node.group == group.name for node in nodes) for group in groups}
    coming = [
        Worker(group.name, group.amounts, group.labels)
        for group in groups
        for _ in range(sizes[group.name] - joined[group.name])
    ]
    present = {name: max(joined[name], sizes[name]) for name in joined}
    plan = pack([*nodes, *coming], groups, state.demand, state.gangs, present)
    busy = [node.idle_seconds == 0 for node in state.nodes]
    workers = {}
    for group in groups:
        size = sizes[group.name]
        engaged = sum(
            worker.group == group.name and (worker.taken or (at < len(busy) and busy[at]))
            for at, worker in enumerate(plan.workers[: len(nodes) + len(coming)])
        )
        new = plan.new.get(group.name, 0)
        workers[group.name] = min(group.limit, size + new) if new else min(size, engaged)
    return Wanted(workers, plan)


class Floor:
    """The number of workers below which a group is not to fall: up at once, down after a while."""

    def __init__(self, value: int, now: float) -> None:
        self.value = value
        self.restart(now)

    def restart(self, now: float) -> None:
        """Begin to wait anew."""
        self._since = now
        self._highest = 0

    def follow(self, wanted: int, now: float, quiet_seconds: float) -> int:
        """The floor, which sinks to the most that was wanted in `quiet_seconds` of less."""
        self._highest = max(self._highest, wanted)
        if wanted >= self.value or now - self._since >= quiet_seconds:
            self.value = self._highest
            self.restart(now)
        return self.value
