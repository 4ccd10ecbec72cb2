"""What the Kubernetes API says of a pod."""

from typing import Any


def is_ready(pod: Any) -> bool:
    """Whether Kubernetes calls the pod ready, and it is there to stay."""
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])
    return ready and not pod.metadata.deletion_timestamp


def runs_ray(pod: Any) -> bool:
    """Whether the pod's Ray container runs, whatever is beside it."""
    statuses = pod.status.container_statuses or []
    return any(s.state.running for s in statuses if s.name.startswith("ray-"))
