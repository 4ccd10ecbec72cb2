"""How many workers of which group it takes for what waits in Ray. Pure: no clock, no network.

First fit, the largest first: into room on nodes that are there or on their way, then onto new
workers of the group that leaves least unused, GPUs and other rarities above all. Amounts are whole
numbers of 1/10000, as Ray itself counts.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

from collections.abc import Sequence
from typing import NamedTuple

Amounts = dict[str, int]
Labels = dict[str, str]
# A label, whether its value has to be one of those listed or none of them, and the list.
Condition = tuple[str, bool, frozenset[str]]

COMMON = {"CPU", "memory", "object_store_memory"}
# Every node has one of each of these without saying so: it is how Ray keeps replicas apart.
IMPLICIT = "node:__internal_implicit_resource_"
UNIT = 10000


class Request(NamedTuple):
    """What one task, actor or bundle asks of a node."""

    amounts: tuple[tuple[str, int], ...]
    # Conditions on a node's labels: all of the first entry, or else all of the second ...
    selectors: tuple[tuple[Condition, ...], ...] = ()
    # Placement groups whose bundles want a node each.
    apart: frozenset[str] = frozenset()


class Group(NamedTuple):
    """A worker group: what each of its workers has, and how many there may be in all."""

    name: str
    amounts: Amounts
    labels: Labels
    limit: int


class Worker:
    """A node, on which requests take their place; `free` is all it has unless it says less."""

    def __init__(
        self,
        group: str,
        total: Amounts,
        labels: Labels,
        free: Amounts | None = None,
        apart: frozenset[str] = frozenset(),
    ) -> None:
        self.group = group
        self.total = total
        self.labels = labels
        self.free = dict(total if free is None else free)
        self.apart: set[str] = set(apart)
        self.taken = False

    def copy(self) -> Worker:
        """The same with a life of its own."""
        other = Worker(self.group, self.total, self.labels, self.free, frozenset(self.apart))
        other.taken = self.taken
        return other

    def room(self, request: Request, count: int) -> int:
        """How many of `count` equal requests fit."""
        if request.apart:
            count = 0 if request.apart & self.apart else min(count, 1)
        for name, amount in request.amounts:
            if amount:
                count = min(count, self._left(name) // amount)
        return max(count, 0)

    def take(self, request: Request, count: int) -> int:
        """Place as many of `count` equal requests as fit, and say how many."""
        count = self.room(request, count)
        if count:
            self.taken = True
            self.apart |= request.apart
            for name, amount in request.amounts:
                self.free[name] = self._left(name) - amount * count
        return count

    def _left(self, name: str) -> int:
        return self.free.get(name, UNIT if name.startswith(IMPLICIT) else 0)


class Plan(NamedTuple):
    """What `pack` came to."""

    new: dict[str, int]  # workers to add, by group
    workers: list[Worker]  # those that were there, in the same order, then the new ones
    waiting: list[tuple[Request, int]]  # fits once the groups have room for more workers
    impossible: list[tuple[Request, int]]  # never fits


def meets(labels: Labels, conditions: Sequence[Condition]) -> bool:
    """Whether a node with these labels meets all conditions."""
    return all((labels.get(key) in values) == wanted for key, wanted, values in conditions)


def pack(
    nodes: Sequence[Worker],
    groups: Sequence[Group],
    demand: Sequence[tuple[Request, int]],
    gangs: Sequence[Sequence[Request]] = (),
    present: dict[str, int] | None = None,
) -> Plan:
    """Place `demand` (requests and how many of each) and `gangs`, each of them as a whole or not.

    `nodes` are those with room that counts, workers on their way included; `present` says how many
    workers each group has towards its limit, where that is not what `nodes` tells.
    """
    present = _count(nodes) if present is None else present
    room = {group.name: group.limit - present.get(group.name, 0) for group in groups}
    empty = [Worker(node.group, node.total, node.labels) for node in nodes]
    models = [*empty, *(Worker(group.name, group.amounts, group.labels) for group in groups)]

    def ever(gang: Sequence[Request]) -> bool:
        workers, left = [worker.copy() for worker in empty], dict(room)
        return not any(_place(part, 1, workers, groups, left) for part in gang)

    def size(request: Request) -> tuple[int, float]:
        rare = sum(1 for name, amount in request.amounts if amount and name not in COMMON)
        shares = [
            amount / max([1, *(model.total.get(name, 0) for model in models)])
            for name, amount in request.amounts
        ]
        return rare, max(shares, default=0)

    workers = [node.copy() for node in nodes]
    left = dict(room)
    waiting: list[tuple[Request, int]] = []
    impossible: list[tuple[Request, int]] = []
    for gang in gangs:
        saved = [worker.copy() for worker in workers], dict(left)
        for part in sorted(gang, key=size, reverse=True):
            if _place(part, 1, workers, groups, left):
                workers, left = saved
                (waiting if ever(gang) else impossible).extend((part, 1) for part in gang)
                break
    for request, count in sorted(demand, key=lambda entry: size(entry[0]), reverse=True):
        if rest := _place(request, count, workers, groups, left):
            (waiting if ever([request]) else impossible).append((request, rest))
    return Plan(_count(workers[len(nodes) :]), workers, waiting, impossible)


def _count(workers: Sequence[Worker]) -> dict[str, int]:
    names = [worker.group for worker in workers]
    return {name: names.count(name) for name in names}


def _place(
    request: Request,
    count: int,
    workers: list[Worker],
    groups: Sequence[Group],
    room: dict[str, int],
) -> int:
    """Place as many as there is room for, and say how many are left over."""
    for conditions in request.selectors or ((),):
        for worker in workers:
            if count and meets(worker.labels, conditions):
                count -= worker.take(request, count)
        while count and (new := _cheapest(request, count, conditions, groups, room)):
            count -= new.take(request, count)
            workers.append(new)
            room[new.group] -= 1
    return count


def _cheapest(
    request: Request,
    count: int,
    conditions: Sequence[Condition],
    groups: Sequence[Group],
    room: dict[str, int],
) -> Worker | None:
    """A new worker of the group that leaves least unused, rarities first, then CPUs and memory."""
    asked = dict(request.amounts)

    def unused(worker: Worker) -> tuple[int, int, int, str]:
        taken = worker.room(request, count)
        left = {name: free - taken * asked.get(name, 0) for name, free in worker.free.items()}
        rare = sum(1 for name in left if name not in COMMON and left[name] and name not in asked)
        return rare, left.get("CPU", 0), left.get("memory", 0), worker.group

    candidates = [
        Worker(group.name, group.amounts, group.labels)
        for group in groups
        if room[group.name] > 0 and meets(group.labels, conditions)
    ]
    return min((one for one in candidates if one.room(request, 1)), key=unused, default=None)
