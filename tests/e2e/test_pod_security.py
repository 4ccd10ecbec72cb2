"""Pod Security Standards, as a namespace of a real cluster enforces them."""

import json

import pytest

from harness.cluster import Cluster
from harness.helm import PROFILES, Object, template, values_of
from harness.process import CommandError

from ..render.objects import pod_templates
from ..render.pod_security import violations

# What names objects that only some clusters have.
ELSEWHERE = ("priorityClassName", "runtimeClassName", "serviceAccountName")


@pytest.mark.scenario("security.restricted")
@pytest.mark.needs(cpu=0, memory=0)
def test_restricted_namespace_admits_every_pod_that_breaks_no_control(
    testbed: Cluster, namespace: str
) -> None:
    """Of every profile, hooks included; those that ask for a disk of the machine are refused."""
    seen, expected = set(), set()
    for profile in (None, *PROFILES):
        for owner, pod in pod_templates(template(values_of(profile))):
            title = f"{owner} of {profile.stem if profile else 'the defaults'}"
            if refused(testbed, namespace, pod):
                seen.add(title)
            if violations(pod):
                expected.add(title)
    assert seen == expected
    assert expected == {"Deployment ray-ray-cluster-worker-a100 of gpu"}


def refused(cluster: Cluster, namespace: str, template: Object) -> bool:
    """Whether the namespace's standard refuses a pod; nothing is created."""
    spec = {key: value for key, value in template["spec"].items() if key not in ELSEWHERE}
    metadata = {"generateName": "pod-", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    except CommandError as error:
        if 'violates PodSecurity "restricted:latest"' not in error.output:
            raise
        return True
    return False
