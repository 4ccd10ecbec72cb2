"""What waits in Ray, and which nodes there are, as the GCS tells Ray's own autoscaler. Pure.

The fields are read from the answer by their numbers in Ray's autoscaler.proto, which stay what they
are from version to version. To import Ray for it would cost 100 MB.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from packing import UNIT, Amounts, Request, Worker

DEAD, DRAINING = 2, 4
# What a task asks of a placement group that has its place. Without one the group itself waits.
IN_PLACEMENT_GROUP = re.compile(r"_group_([0-9]+_)?[0-9a-f]{36}$")


class Node(NamedTuple):
    """A node that takes tasks."""

    worker: Worker
    idle_seconds: float
    pod: str


class State(NamedTuple):
    """What the GCS knows at one moment."""

    nodes: list[Node]
    demand: list[tuple[Request, int]]
    gangs: list[list[Request]]


def decode(answer: bytes) -> State:
    """The state in an answer to GetClusterResourceState."""
    state = _fields(_first(_fields(answer), 1, b""))
    nodes = [_node(_fields(node)) for node in state.get(3, [])]
    demand = []
    for entry in map(_fields, state.get(4, [])):
        request, _, _ = _request(_first(entry, 1, b""))
        if not any(IN_PLACEMENT_GROUP.search(name) for name, _ in request.amounts):
            demand.append((request, _first(entry, 2, 0)))
    gangs = [_gang(_fields(gang)) for gang in state.get(5, [])]
    return State([node for node in nodes if node], demand, gangs)


def _node(node: dict[int, list[Any]]) -> Node | None:
    if _first(node, 8, 0) in (DEAD, DRAINING):
        return None
    worker = Worker(
        _first(node, 3, b"").decode(),
        _amounts(node.get(5, [])),
        {key: value.decode() for key, value in _entries(node.get(13, []))},
        _amounts(node.get(4, [])),
        frozenset(key for key, _ in _entries(node.get(6, []))),
    )
    return Node(worker, _first(node, 9, 0) / 1000, _first(node, 2, b"").decode())


def _gang(gang: dict[int, list[Any]]) -> list[Request]:
    """The bundles of a placement group; those that want to be together as one."""
    # From 2.49 on there are alternatives, of which Ray's own autoscaler takes the first as well.
    bundles = _fields(gang[3][0]).get(1, []) if gang.get(3) else gang.get(1, [])
    apart: list[Request] = []
    together: dict[str, Request] = {}
    for request, label, is_apart in map(_request, bundles):
        if label and not is_apart:
            amounts = dict(together[label].amounts) if label in together else {}
            for name, amount in request.amounts:
                amounts[name] = amounts.get(name, 0) + amount
            together[label] = request._replace(amounts=tuple(sorted(amounts.items())))
        else:
            apart.append(request)
    return [*apart, *together.values()]


def _request(data: bytes) -> tuple[Request, str, bool]:
    """A request, the placement group that binds it to its like, and whether away from them."""
    request = _fields(data)
    amounts = tuple(sorted(_amounts(request.get(1, [])).items()))
    selectors = tuple(_conditions(_fields(selector)) for selector in request.get(3, []))
    label, apart = "", False
    for constraint in map(_fields, request.get(2, [])):
        for number, away in ((1, True), (2, False)):
            for found in constraint.get(number, []):
                label, apart = _first(_fields(found), 1, b"").decode(), away
    groups: frozenset[str] = frozenset([label] if apart else [])
    return Request(amounts, tuple(filter(None, selectors)), groups), label, apart


def _conditions(selector: dict[int, list[Any]]) -> tuple[tuple[str, bool, frozenset[str]], ...]:
    found = map(_fields, selector.get(1, []))
    return tuple(
        (
            _first(one, 1, b"").decode(),
            _first(one, 2, 0) != 2,  # 1 is IN, 2 is NOT_IN
            frozenset(value.decode() for value in one.get(3, [])),
        )
        for one in found
    )


def _amounts(entries: list[bytes]) -> Amounts:
    return {
        key: round(struct.unpack("<d", value or bytes(8))[0] * UNIT)
        for key, value in _entries(entries)
    }


def _entries(entries: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """The entries of a map."""
    for entry in map(_fields, entries):
        yield _first(entry, 1, b"").decode(), _first(entry, 2, b"")


def _first(fields: dict[int, list[Any]], number: int, default: Any) -> Any:
    return fields.get(number, [default])[0]


def _fields(data: bytes) -> dict[int, list[Any]]:
    """The fields of a message in protobuf's encoding, by number: integers, or else bytes."""
    fields: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value: Any = varint()
        else:
            size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
            value, at = data[at : at + size], at + size
        fields.setdefault(key >> 3, []).append(value)
    return fields
