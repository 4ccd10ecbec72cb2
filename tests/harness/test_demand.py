"""The sidecar that scales on demand: what it reads of Ray, and what it writes to Kubernetes."""

import struct
from itertools import pairwise
from typing import Any

import pytest
from floors import Floor, wanted
from packing import UNIT, Group, Request, Worker
from scaler import DELETION_COST, Kubernetes, RefusedError, Scaled, Scaler
from state import Node, State, decode

GROUP = Group("default", {"CPU": UNIT}, {"ray.io/node-group": "default"}, limit=5)
ONE_CPU = Request((("CPU", UNIT),))
PLACEMENT_GROUP = "a1" * 18


def message(*fields: tuple[int, Any]) -> bytes:
    """A message in protobuf's encoding, of (number, value)."""

    def varint(number: int) -> bytes:
        low, rest = number & 0x7F, number >> 7
        return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])

    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        elif isinstance(value, float):
            encoded += varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            data = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(data)) + data
    return encoded


def entries(number: int, values: dict[str, Any]) -> list[tuple[int, bytes]]:
    """The entries of a map field."""
    return [(number, message((1, key), (2, value))) for key, value in values.items()]


def asked(*more: tuple[int, bytes], **amounts: float) -> bytes:
    """A ResourceRequest."""
    return message(*entries(1, amounts), *more)


def answer(*fields: tuple[int, bytes]) -> State:
    """The state that is read from a ClusterResourceState of these fields."""
    return decode(message((1, message(*fields))))


def test_waiting_tasks_are_read_by_shape_with_their_number() -> None:
    shape = asked(CPU=0.5, memory=1e9)
    state = answer((4, message((1, shape), (2, 100_000))))
    amounts = (("CPU", UNIT // 2), ("memory", 10**9 * UNIT))
    assert state.demand == [(Request(amounts), 100_000)]


def test_label_selectors_are_read_with_what_they_fall_back_to() -> None:
    first = message((1, message((1, "zone"), (2, 1), (3, "a"), (3, "b"))))
    second = message((1, message((1, "zone"), (2, 2), (3, "c"))))
    state = answer((4, message((1, asked((3, first), (3, second), CPU=1.0)), (2, 1))))
    assert state.demand[0][0].selectors == (
        (("zone", True, frozenset(["a", "b"])),),
        (("zone", False, frozenset(["c"])),),
    )


def test_tasks_of_a_placement_group_wait_for_it_and_not_for_workers() -> None:
    inside = entries(1, {f"CPU_group_0_{PLACEMENT_GROUP}": 1.0})
    state = answer((4, message((1, message(*inside)), (2, 3))))
    assert state.demand == []


def test_bundles_that_want_to_be_together_are_one() -> None:
    together = (2, message((2, message((1, "pg")))))
    gang = message((1, asked(together, CPU=1.0)), (1, asked(together, CPU=2.0, GPU=1.0)))
    assert answer((5, gang)).gangs == [[Request((("CPU", 3 * UNIT), ("GPU", UNIT)))]]


def test_bundles_that_want_to_be_apart_say_from_whom() -> None:
    apart = (2, message((1, message((1, "pg")))))
    gang = message((1, asked(apart, CPU=1.0)), (1, asked(apart, CPU=1.0)))
    assert answer((5, gang)).gangs == [[Request((("CPU", UNIT),), apart=frozenset(["pg"]))] * 2]


def test_newer_ray_names_bundles_in_another_field() -> None:
    bundles = message((1, asked(CPU=1.0)), (1, asked(CPU=1.0)))
    gang = message((1, asked(CPU=1.0)), (3, bundles))
    assert answer((5, gang)).gangs == [[ONE_CPU, ONE_CPU]]


def ray_node(status: int, idle_ms: int) -> tuple[int, bytes]:
    """A NodeState."""
    total, free = entries(5, {"CPU": 4.0}), entries(4, {"CPU": 1.0})
    labels, apart = entries(13, {"zone": "a"}), entries(6, {"_PG_x": ""})
    about = [(2, "worker-1"), (3, "default"), (8, status), (9, idle_ms)]
    return 3, message(*about, *total, *free, *labels, *apart)


def test_nodes_are_read_with_their_room_and_labels() -> None:
    (node,) = answer(ray_node(3, 1500)).nodes
    assert (node.idle_seconds, node.pod) == (1.5, "worker-1")
    worker = node.worker
    assert (worker.group, worker.labels, worker.apart) == ("default", {"zone": "a"}, {"_PG_x"})
    assert (worker.total, worker.free) == ({"CPU": 4 * UNIT}, {"CPU": UNIT})


@pytest.mark.parametrize("status", [2, 4], ids=["dead", "draining"])
def test_nodes_that_take_no_tasks_do_not_count(status: int) -> None:
    assert answer(ray_node(status, 0)).nodes == []


def cluster(*busy: bool, waiting: int = 0) -> State:
    """Workers of GROUP, full or idle for a thousand seconds, and tasks of one CPU that wait."""
    nodes = [
        Node(
            Worker("default", GROUP.amounts, GROUP.labels, free={} if one else None),
            0 if one else 1000,
            f"worker-default-{number}",
        )
        for number, one in enumerate(busy)
    ]
    return State(nodes, [(ONE_CPU, waiting)] if waiting else [], [])


@pytest.mark.parametrize(
    ("state", "size", "workers"),
    [
        (cluster(), 0, 0),
        (cluster(waiting=2), 0, 2),
        (cluster(True, waiting=2), 1, 3),
        (cluster(True, waiting=2), 3, 3),  # two are on their way
        (cluster(True, False, waiting=1), 2, 2),
        (cluster(True, False, False), 3, 1),
        (cluster(True, waiting=99), 1, 5),
        (cluster(True, True), 1, 1),  # one has been told to leave
    ],
)
def test_demand_wants_those_that_work_and_those_that_waiting_tasks_take(
    state: State, size: int, workers: int
) -> None:
    assert wanted(state, [GROUP], {"default": size}).workers == {"default": workers}


def test_floor_rises_at_once() -> None:
    floor = Floor(1, now=0)
    assert floor.follow(4, now=1, quiet_seconds=60) == 4


def test_floor_sinks_after_a_while_to_the_most_of_that_while() -> None:
    floor = Floor(4, now=0)
    seen = [floor.follow(number, now, 60) for now, number in [(10, 1), (30, 2), (59, 0), (60, 0)]]
    assert seen == [4, 4, 4, 2]


def test_floor_stays_while_it_is_wanted_again_and_again() -> None:
    floor = Floor(2, now=0)
    seen = {floor.follow(2 if now % 50 == 0 else 0, now, 60) for now in range(0, 1000, 10)}
    assert seen == {2}


class Recorder(Kubernetes):
    """A Kubernetes of one group, which remembers what was asked of it."""

    def __init__(self, replicas: int, floor: int) -> None:
        self.namespace = "ray"
        self.replicas, self.floor = replicas, floor
        self.reads = 0
        self.marks: list[tuple[str, str]] = []
        self.gone = ""
        self.events: list[dict[str, Any]] = []
        self.broken = False
        self.autoscaler_is_fast = False

    def call(self, method: str, api: str, path: str, body: Any = None) -> dict[str, Any]:
        """What Kubernetes would do."""
        if self.broken:
            raise OSError("no route to host")
        if method == "GET":
            self.reads += 1
        if path == "events":
            self.events.append(body)
            return {}
        kind, name, *_ = path.split("/")
        if kind == "pods":
            if name == self.gone:
                raise RefusedError(404, f"no pod {name}")
            self.marks.append((name, body["metadata"]["annotations"][DELETION_COST]))
            return {}
        if kind == "horizontalpodautoscalers":
            assert name == "demand-default"
            self.floor = body["spec"]["minReplicas"] if body else self.floor
            return {"spec": {"minReplicas": self.floor}}
        assert path == "deployments/worker-default/scale"
        if body and self.autoscaler_is_fast and self.replicas < self.floor:
            self.replicas = self.floor
            raise RefusedError(409, "the object has been modified")
        self.replicas = body["spec"]["replicas"] if body else self.replicas
        metadata = {"name": name, "uid": "u", "resourceVersion": "1"}
        return {"metadata": metadata, "spec": {"replicas": self.replicas} if self.replicas else {}}


def scaler(kubernetes: Recorder, **values: Any) -> Scaler:
    """A scaler of GROUP."""
    config = {
        "name": "default",
        "deployment": "worker-default",
        "autoscaler": "demand-default",
        "minReplicas": 1,
        "maxReplicas": 5,
        "quietSeconds": 60,
        "podDeletionCost": False,
        "amounts": {"CPU": 1},
        "labels": {},
    }
    pod = {"name": "head", "uid": "u"}
    return Scaler([Scaled(config | values, kubernetes)], kubernetes, pod)


def look_twice(one: Scaler, state: State, now: float = 0) -> None:
    """Show it the same state again half a second later."""
    for at in (now, now + 0.5):
        one.look(state, now=at)


def test_tasks_that_wait_for_a_moment_only_add_nobody() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes)
    for now, waiting in enumerate([5, 0, 5, 0, 5]):
        one.look(cluster(True, waiting=waiting), now=now)
    assert (kubernetes.floor, kubernetes.replicas) == (1, 1)


def test_waiting_tasks_raise_the_floor_and_the_number_of_workers_at_once() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    look_twice(scaler(kubernetes), cluster(True, waiting=2))
    assert (kubernetes.floor, kubernetes.replicas) == (3, 3)
    (event,) = kubernetes.events
    assert event["message"].startswith("From 1 to 3 workers: 2 tasks and actors")
    assert event["involvedObject"]["name"] == "worker-default"


def test_autoscaler_that_follows_its_new_floor_first_is_no_trouble() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    kubernetes.autoscaler_is_fast = True
    look_twice(scaler(kubernetes), cluster(True, waiting=2))
    assert kubernetes.replicas == 3
    assert len(kubernetes.events) == 1


def test_workers_stay_when_the_floor_sinks() -> None:
    kubernetes = Recorder(replicas=3, floor=3)
    one = scaler(kubernetes)
    for now in (0, 100):
        one.look(cluster(False, False, False), now=now)
    assert (kubernetes.floor, kubernetes.replicas) == (1, 3)


def test_restarted_sidecar_takes_up_the_floor_that_it_finds() -> None:
    kubernetes = Recorder(replicas=3, floor=3)
    scaler(kubernetes).look(cluster(True, False, False), now=0)
    assert kubernetes.floor == 3


def test_new_autoscaler_gets_the_groups_own_minimum() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    scaler(kubernetes, minReplicas=2).look(cluster(False), now=0)
    assert kubernetes.floor == 2


def test_idle_cluster_asks_kubernetes_nothing() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes)
    one.look(cluster(False), now=0)
    before = kubernetes.reads
    for now in range(1, 50):
        one.look(cluster(False), now=now)
    assert kubernetes.reads == before


def test_floor_that_another_has_changed_is_written_again() -> None:
    kubernetes = Recorder(replicas=2, floor=2)
    one = scaler(kubernetes)
    one.look(cluster(True, True), now=0)
    kubernetes.floor = 1
    one.look(cluster(True, True), now=61)
    assert kubernetes.floor == 2


def test_idle_group_without_minimum_goes_to_zero() -> None:
    kubernetes = Recorder(replicas=2, floor=2)
    one = scaler(kubernetes, minReplicas=0)
    for now in (0, 61):
        one.look(cluster(False, False), now=now)
    assert (kubernetes.replicas, kubernetes.floor) == (0, 1)


def test_group_without_minimum_stays_while_a_worker_has_just_been_busy() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes, minReplicas=0, quietSeconds=2000)
    for now in (0, 2001):
        one.look(cluster(False), now=now)
    assert kubernetes.replicas == 1


def test_group_comes_back_from_zero() -> None:
    kubernetes = Recorder(replicas=0, floor=1)
    look_twice(scaler(kubernetes, minReplicas=0), cluster(waiting=1))
    assert kubernetes.replicas == 1


def test_outage_of_kubernetes_is_made_up_for() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes)
    one.look(cluster(True), now=0)
    kubernetes.broken = True
    with pytest.raises(OSError, match="no route"):
        one.look(cluster(True, waiting=1), now=1)
    kubernetes.broken = False
    look_twice(one, cluster(True, waiting=1), now=2)
    assert kubernetes.replicas == 2


def test_floor_does_not_sink_while_nothing_is_known() -> None:
    kubernetes = Recorder(replicas=3, floor=3)
    one = scaler(kubernetes)
    one.look(cluster(False, False, False), now=0)
    one.lost(now=100)
    one.look(cluster(False, False, False), now=110)
    assert kubernetes.floor == 3


def test_demand_that_never_fits_is_an_event_once_and_a_metric() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes)
    state = cluster(True)._replace(demand=[(Request((("TPU", UNIT),)), 7)])
    for now in (0, 10, 20):
        one.look(state, now=now)
    (event,) = kubernetes.events
    assert (event["type"], event["involvedObject"]["name"]) == ("Warning", "head")
    assert event["message"].endswith("asks for: TPU: 1")
    key = 'ray_cluster_demand_unplaced{reason="impossible",shape="TPU: 1"}'
    assert one.metrics[key] == 7


def test_workers_are_marked_when_they_turn_busy_or_idle_and_not_again() -> None:
    kubernetes = Recorder(replicas=2, floor=2)
    one = scaler(kubernetes, podDeletionCost=True)
    for now in range(0, 50, 5):
        one.look(cluster(True, False), now=now)
    one.look(cluster(True, True), now=50)
    first, second = "worker-default-0", "worker-default-1"
    assert kubernetes.marks == [(first, "1"), (second, "0"), (second, "1")]


def test_pause_between_tasks_makes_no_worker_one_to_take_first() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes, podDeletionCost=True)
    (node,) = cluster(True).nodes
    for now in range(20):
        one.look(State([node._replace(idle_seconds=now % 2)], [], []), now=now)
    assert kubernetes.marks == [("worker-default-0", "1")]


@pytest.mark.parametrize("pod", ["other-default-0", "worker-default-0/status", "", "x/../worker"])
def test_pod_that_is_none_of_the_groups_is_never_marked(pod: str) -> None:
    """What registers a node in Ray says itself in which pod it is."""
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes, podDeletionCost=True)
    one.look(State([node._replace(pod=pod) for node in cluster(True).nodes], [], []), now=0)
    assert kubernetes.marks == []


def test_nobody_is_marked_unasked() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    scaler(kubernetes).look(cluster(True), now=0)
    assert kubernetes.marks == []


def test_pod_that_is_gone_keeps_no_other_from_being_marked() -> None:
    kubernetes = Recorder(replicas=2, floor=2)
    kubernetes.gone = "worker-default-0"
    scaler(kubernetes, podDeletionCost=True).look(cluster(True, True), now=0)
    assert kubernetes.marks == [("worker-default-1", "1")]


def saw_tooth(now: float) -> int:
    """One, two, three tasks for 20 s each; then none for 30 s and for 180 s by turns."""
    now %= 60 + 30 + 60 + 180
    tooth = now - 90 if now >= 90 else now
    return int(tooth // 20) + 1 if tooth < 60 else 0


def test_saw_tooth_has_no_worker_come_or_go_for_nothing() -> None:
    """Under an autoscaler that takes whatever the floor lets it, with workers that take 5 s.

    A step is needless if the next one takes it back within the quiet time.
    """
    # A short valley is 70 s for the third worker, with the slope on either side.
    kubernetes, quiet_seconds = Recorder(replicas=1, floor=1), 90
    one = scaler(kubernetes, quietSeconds=quiet_seconds)
    joined = [0.0]  # when
    steps = [(0.0, 1)]
    for now in (tick / 2 for tick in range(16 * 60 * 2)):
        if now % 15 == 0:
            kubernetes.replicas = kubernetes.floor
        missing = kubernetes.replicas - len(joined)
        joined = [*joined, *[now + 5] * missing][: kubernetes.replicas]
        here = sum(at <= now for at in joined)
        busy = min(here, saw_tooth(now))
        workers = (at < busy for at in range(here))
        one.look(cluster(*workers, waiting=saw_tooth(now) - busy), now=now)
        if kubernetes.replicas != steps[-1][1]:
            steps.append((now, kubernetes.replicas))
    assert [size for _, size in steps] == [1, *[2, 3, 1] * 3], steps
    turns = [
        later - at for (at, before), (later, after) in pairwise(steps[1:]) if 1 in (before, after)
    ]
    assert min(turns) > quiet_seconds, steps


def test_group_of_kedas_is_only_told_about() -> None:
    kubernetes = Recorder(replicas=1, floor=1)
    one = scaler(kubernetes, autoscaler=None)
    look_twice(one, cluster(True, waiting=2))
    assert (kubernetes.floor, kubernetes.replicas, kubernetes.events) == (1, 1, [])
    assert one.metrics['ray_cluster_demand_floor_workers{group="default"}'] == 3
