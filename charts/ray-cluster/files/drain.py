"""Drains this node of Ray.

Arguments are the address of the GCS, the port of the raylet, for how many seconds to go on as
before, and how many seconds tasks may take then.
"""

import os
import signal
import socket
import sys
import time

from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

address = sys.argv[1]
port, pause, timeout = map(int, sys.argv[2:])
time.sleep(pause)

# Without a GCS there is nobody who could send new tasks, and a call waits for one up to a minute.
signal.alarm(15)
gcs = GcsClient(address=address)
for node in gcs.get_all_node_info(timeout=10).values():
    if node.node_name == os.environ["POD_NAME"] and node.state == node.ALIVE:
        break
else:
    sys.exit("The head does not know this node.")
# The other reason, IDLE_TERMINATION, is refused while tasks run, and meanwhile new ones arrive.
deadline = int(1000 * (time.time() + timeout))
gcs.drain_node(node.node_id.hex(), DRAIN_NODE_REASON_PREEMPTION, "The pod ends.", deadline)
signal.alarm(0)

# The raylet ends by itself as soon as nothing runs there and nobody needs its objects.
end = time.monotonic() + timeout
while time.monotonic() < end:
    try:
        socket.create_connection((os.environ["POD_IP"], port), timeout=1).close()
    except ConnectionRefusedError:
        break
    except TimeoutError:
        pass  # busy
    time.sleep(0.2)
