"""Drains the node of Ray that it runs on: `drain.py ADDRESS SECONDS`.

The address is the GCS's, by IP: the head's name goes with its Service in an uninstall.
Ends when no lease is left on the node, whose raylet ends as soon as nobody needs its objects.

A raylet takes its store for empty until its next report, and ends with the lease of its last task,
whose result it has just been given: Ray's own drain, from 2.57 on, loses it. So the store is given
an object to hold until all leases have ended and been reported.
"""

from __future__ import annotations  # the images of old Rays have Python 3.9

import faulthandler
import sys
import time

import ray
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION
from ray.experimental.internal_kv import internal_kv_get_gcs_client

CONNECT_SECONDS = 20
SETTLE_SECONDS = 0.5  # a raylet reports ten times a second

# It waits for ever for a GCS that goes just now, and lets no other thread run meanwhile.
faulthandler.dump_traceback_later(CONNECT_SECONDS, exit=True)
ray.init(
    sys.argv[1],
    namespace="_ray_internal_drain",  # a prefix of which the dashboard shows no jobs
    log_to_driver=False,
    logging_level="error",
)
gcs = internal_kv_get_gcs_client()
node = ray.get_runtime_context().get_node_id()


def uses() -> set[str]:
    """What is in use on this node, in Ray's words."""
    try:
        states = get_cluster_resource_state(gcs).node_states
    except ray.exceptions.RpcError:  # a new head may come
        return {"unknown"}
    return {use for state in states if state.node_id.hex() == node for use in state.node_activity}


held = ray.put(None)
while not (store := {use for use in uses() if "object_store_memory" in use}):
    time.sleep(0.1)
# The other reason, IDLE_TERMINATION, is refused while tasks run, and meanwhile new ones arrive.
deadline = int(1000 * (time.time() + float(sys.argv[2])))
gcs.drain_node(node, DRAIN_NODE_REASON_PREEMPTION, "The pod ends.", deadline)
faulthandler.cancel_dump_traceback_later()

since = time.monotonic()
while time.monotonic() < since + SETTLE_SECONDS:
    time.sleep(0.1)
    if uses() - store:
        since = time.monotonic()
