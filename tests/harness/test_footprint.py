"""What a tenant's share of a cluster is counted by."""

from collections import Counter

from harness import api_server, etcd

METRICS = """
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",resource="pods",verb="GET"} 3
apiserver_request_total{code="200",resource="pods",verb="LIST"} 4
apiserver_request_total{code="200",resource="pods",verb="WATCH"} 100
apiserver_request_total{code="101",resource="pods",verb="CONNECT"} 100
apiserver_request_total{code="201",resource="pods",verb="POST"} 5
apiserver_request_total{code="200",resource="pods",subresource="",verb="PATCH"} 1
apiserver_request_total{code="200",resource="pods",subresource="status",verb="PATCH"} 2
apiserver_request_total{code="200",resource="leases",verb="PUT"} 1e+01
apiserver_request_duration_seconds_count{verb="GET"} 1000
"""


def test_requests_that_write_are_told_from_those_that_read() -> None:
    found = api_server.parse(METRICS)
    assert found.reads == {"pods": 7}
    assert found.writes == {"pods": 6, "pods/status": 2, "leases": 10}


def test_requests_of_a_while_are_a_difference() -> None:
    later, earlier = (
        api_server.Requests(Counter(pods=reads), Counter(pods=writes))
        for reads, writes in ((9, 5), (4, 2))
    )
    asked = later - earlier
    assert (asked.reads.total(), asked.writes.total()) == (5, 3)


def test_namespace_owns_what_is_in_it_and_itself_but_no_events() -> None:
    keys = {
        "/registry/namespaces/a": 1,
        "/registry/pods/a/ray": 2,
        "/registry/services/specs/a/ray": 4,
        "/registry/ray.io/rayclusters/a/ray": 8,
        "/registry/events/a/ray.1": 16,
        "/registry/pods/ab/ray": 32,
    }
    assert sum(size for _, size in etcd.of_namespace(keys, "a")) == 15
