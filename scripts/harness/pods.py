"""What the Kubernetes API says of a pod."""

from typing import Any


def is_ready(pod: Any) -> bool:
    """Whether Kubernetes calls the pod ready, and it is there to stay."""
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])
    return ready and not pod.metadata.deletion_timestamp


def is_running(pod: Any) -> bool:
    """Whether the pod's containers run, init containers aside."""
    statuses = pod.status.container_statuses or []
    return bool(statuses) and all(status.state.running for status in statuses)
