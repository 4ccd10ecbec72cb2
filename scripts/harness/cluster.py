"""The kind cluster: created, sealed from the outside, equipped, reused, deleted."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness import debian, engine, gobuild, images
from harness.console import confirm, step, together
from harness.errors import UserError
from harness.images import Image
from harness.paths import PACKAGE, ROOT, STATE
from harness.process import CommandError, run, succeeds
from harness.registry import Registry
from harness.tools import NEWEST_KUBERNETES, modules, prefer_path, tool
from harness.tools import ensure as ensure_tools

OLDEST_RAY = "2.40.0"  # that the chart supports; made for the scenarios about it alone
_LABEL = "ray-testbed"  # marks the Docker networks, and so the clusters, that are ours
# Marks the namespaces that the tests of this checkout make, in whichever cluster.
OURS = {_LABEL: hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
_PATCHES = PACKAGE / "kubeadm-patches"
_AUDIT_POLICY = PACKAGE / "audit-policy.yaml"
_FREE_DISK_GB = 15


@dataclass(frozen=True)
class Cluster:
    """A cluster to work in. `node` is its container, or None for a cluster that is not ours."""

    name: str
    kubeconfig: Path
    node: str | None

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """The output of kubectl with `arguments` on this cluster."""
        command: list[str | Path] = [tool("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        return run(command, stdin=stdin)

    @property
    def address(self) -> str:
        """The address of the node of a cluster that is ours."""
        return self._inspected("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")

    @property
    def process(self) -> int:
        """The first process of that node, by its id on this machine."""
        return int(self._inspected("{{.State.Pid}}"))

    def _inspected(self, form: str) -> str:
        return run(["docker", "inspect", f"--format={form}", str(self.node)]).strip()


def for_tests(name: str) -> str:
    """The tests' own cluster beside the cluster `name`: neither disturbs the other's release."""
    return f"{name}-test"


def existing(kubeconfig: Path) -> Cluster:
    """Somebody's own cluster: used as it is, never deleted."""
    cluster = Cluster(f"the cluster of {kubeconfig}", kubeconfig, None)
    if not kubeconfig.exists():
        raise UserError(f"--kubeconfig {kubeconfig}: there is no such file.")
    prefer_path()
    ensure_tools("helm", "kubectl")
    try:
        cluster.kubectl("get", "--raw=/readyz", "--request-timeout=10s")
    except CommandError as error:
        raise UserError(
            f"--kubeconfig {kubeconfig}: the cluster does not answer; check that it runs and "
            f"that you may use it.\n{error}"
        ) from error
    return cluster


@contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other command of this checkout changes its clusters or caches."""
    with _locked(STATE / "lock", "Wait for another command of this checkout"):
        yield


@contextmanager
def tested(cluster: Cluster) -> Iterator[None]:
    """Have `cluster` for one run of tests, without what an interrupted run left in it."""
    with _locked(locks(cluster) / "lock", "Wait for another test run of this checkout"):
        remove_leftovers(cluster)
        yield


def remove_leftovers(cluster: Cluster) -> None:
    """Delete the namespaces that interrupted tests of this checkout left in `cluster`."""
    own = ",".join(f"{key}={value}" for key, value in OURS.items())
    names = "--output=jsonpath={.items[*].metadata.name}"
    if left := cluster.kubectl("get", "namespaces", f"--selector={own}", names).split():
        with step("Remove what an interrupted test run left"):
            for name in left:
                _delete_namespace(cluster, name)


def _delete_namespace(cluster: Cluster, name: str) -> None:
    """Delete a namespace whose pods need not drain.

    They go first: Kubernetes looks after a namespace with pods that leave only once in half of the
    time that they may take, which is minutes. And before them all that would make new ones, for a
    ReplicaSet outlives its Deployment by a moment.
    """
    within = f"--namespace={name}"
    cluster.kubectl("delete", "deployments,statefulsets,replicasets", "--all", within)
    cluster.kubectl("delete", "pods", "--all", "--grace-period=1", within, "--timeout=120s")
    cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=300s")


@contextmanager
def namespace(cluster: Cluster, topic: str) -> Iterator[str]:
    """A namespace of this run's own that enforces the *restricted* Pod Security Standard."""
    name = f"{topic}-{secrets.token_hex(2)}"
    labels = OURS | RESTRICTED
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.kubectl("create", "-f", "-", stdin=yaml.safe_dump(made))
    try:
        yield name
    finally:
        _delete_namespace(cluster, name)


def locks(cluster: Cluster) -> Path:
    """The folder where test processes agree on how they share `cluster`."""
    digest = hashlib.sha256(cluster.kubeconfig.read_bytes()).hexdigest()[:16]
    return STATE / "locks" / digest


@contextmanager
def _locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold the lock file `path`; the kernel frees it when this process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(waiting):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure(
    name: str,
    *,
    kubernetes: str = NEWEST_KUBERNETES,
    ray: str,
    source: Registry | None = None,
    testing: bool = False,
    yes: bool = False,
) -> Cluster:
    """Return the running kind cluster `name` with Ray `ray` in it, creating what is missing.

    `source` says where images come from; None stands for packages. A cluster of packages is always
    sealed, and so is one for `testing`, whose autoscalers also look more often. A cluster that does
    not answer, or was made from other inputs, is deleted and created again.
    """
    images.kubernetes_module(kubernetes)  # refuses a version that is not built here
    _check_disk()
    sealed = testing or source is None
    cluster = Cluster(name, _kubeconfig(name), f"{name}-control-plane")
    with exclusive():
        _prepare_machine(source, sealed=sealed, yes=yes)
        node_image, loaded = _make_images(kubernetes, ray, source, testing=testing)
        patches = _patches(testing=testing)
        config = _kind_config(name, patches)
        inputs = [node_image, str(sealed), json.dumps(config)]
        inputs += [path.read_text() for path in (*patches, _AUDIT_POLICY)]
        spec = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
        usable = _is_usable(cluster, spec)
        if not usable:
            delete(name)
            _create(cluster, spec, config, node_image, sealed=sealed)
        elif sealed and not _is_sealed(name):  # a restart of the engine or machine drops rules
            _seal(name)
        for image in loaded:
            _load(cluster, image)
        if not usable:
            _equip(cluster, sealed=sealed)
    return cluster


def add_ray(cluster: Cluster, version: str, source: Registry | None) -> None:
    """Have Ray `version` in `cluster`, beside the one it was made with; safe side by side.

    `source` is as for `ensure`. A cluster of somebody's own pulls the image by itself.
    """
    _add(cluster, images.ray_reference(version), lambda: images.ray(version), source)


def add_redis(cluster: Cluster, source: Registry | None) -> None:
    """Have Redis in `cluster`, as one for testing has from the start; `source` as for `ensure`."""
    _add(cluster, images.REDIS_REFERENCE, images.redis, source)


def _add(
    cluster: Cluster, reference: str, make: Callable[[], Image], source: Registry | None
) -> None:
    if cluster.node is None:
        return
    with exclusive():
        image = source.pull(reference)[0] if source else make()
        _load(cluster, image)


def _load(cluster: Cluster, image: Image) -> None:
    with step(f"Load {image.reference} into the cluster"):
        images.load(str(cluster.node), image)


def _make_images(
    kubernetes: str, ray: str, source: Registry | None, *, testing: bool = False
) -> tuple[str, list[Image]]:
    """Make the tools and images that are missing.

    Returns the node image, and what the cluster needs beside it.
    """
    tools = ("kind", "helm", "kubectl")
    if source:
        ensure_tools(*tools)
        others = [images.metrics_server_reference(), images.ray_reference(ray)]
        for_testing = (images.REDIS_REFERENCE, images.PROMETHEUS_REFERENCE) if testing else ()
        node, *loaded = source.pull(source.node, *others, *for_testing)
        return node.tag, loaded
    together(
        *gobuild.lanes(*modules(*tools), *images.node_modules(kubernetes)),
        images.pending_node_roots()
        | images.pending_ray(ray)
        | (images.pending_for_tests() if testing else {}),
    )
    for_tests = [images.redis(), images.prometheus()] if testing else []
    return images.node(kubernetes), [images.ray(ray), *for_tests]


def _prepare_machine(source: Registry | None, *, sealed: bool, yes: bool) -> None:
    """Install packages and start an engine where that is needed, after one question."""
    root = os.geteuid() == 0
    if source is None and not root:
        raise UserError(
            "Building images from packages needs root (mmdebstrap): run this as root, or use "
            "`--images registry`."
        )
    if sealed and not root:
        raise UserError(
            "The network of the tests' cluster is sealed, which needs root (iptables): run this as "
            "root, or give a cluster of your own with --kubeconfig."
        )
    programs = {"mmdebstrap": "mmdebstrap"} if source is None else {}
    if sealed:
        programs |= {"iptables": "iptables", "ip": "iproute2"}
    changes = []
    if not engine.answers():
        engine.can_be_started()
        programs |= engine.PROGRAMS
        changes.append("start a Docker engine")
    packages = debian.missing(programs)
    if packages:
        changes.insert(0, f"install {', '.join(packages)} with apt-get")
    if changes:
        confirm(f"This machine needs some changes: {' and '.join(changes)}. Go ahead?", yes=yes)
    debian.install(packages)
    engine.ensure(source.probe if source else engine.build_probe)


def delete(name: str) -> bool:
    """Delete the cluster `name`, its network and its rules; return whether there was any.

    Raises UserError for a cluster of that name that the harness did not make.
    """
    if not engine.answers():
        _unseal(name)
        return False
    containers = run(
        ["docker", "ps", "--all", "--quiet", f"--filter=label=io.x-k8s.kind.cluster={name}"]
    ).split()
    ours = [f"--filter=name=^{name}$", f"--filter=label={_LABEL}"]
    networks = run(["docker", "network", "ls", "--quiet", *ours]).split()
    if containers and not networks:
        raise UserError(
            f"There is a kind cluster called {name} that was not made here: choose another --name."
        )
    if not networks:
        _unseal(name)  # rules may outlive what they were made for
        return False
    with step(f"Delete the cluster {name}"):
        if containers:
            run(["docker", "rm", "--force", "--volumes", *containers])
        _unseal(name)
        run(["docker", "network", "rm", *networks])
        shutil.rmtree(_folder(name), ignore_errors=True)
    return True


def names() -> list[str]:
    """The clusters that the harness made on this engine, from whichever checkout."""
    if not engine.answers():
        return []
    ours = f"--filter=label={_LABEL}"
    return run(["docker", "network", "ls", ours, "--format={{.Name}}"]).split()


def _folder(name: str) -> Path:
    return STATE / "clusters" / name


def _kubeconfig(name: str) -> Path:
    return _folder(name) / "kubeconfig"


def _check_disk() -> None:
    STATE.mkdir(exist_ok=True)
    for folder in {STATE, Path("/var/lib")}:
        free = shutil.disk_usage(folder).free / 1e9
        if free < _FREE_DISK_GB:
            raise UserError(
                f"{folder} has {free:.1f} GB free, and images and builds need {_FREE_DISK_GB} GB: "
                "make room (`./scripts/down --all` removes what earlier runs left) and try again."
            )


def _is_usable(cluster: Cluster, spec: str) -> bool:
    label = run(
        ["docker", "network", "ls", f"--filter=name=^{cluster.name}$",
         f'--format={{{{.Label "{_LABEL}"}}}}']
    ).strip()  # fmt: skip
    ready: list[str | Path] = [tool("kubectl"), f"--kubeconfig={cluster.kubeconfig}"]
    ready += ["get", "--raw=/readyz", "--request-timeout=5s"]
    return (
        label == spec
        and cluster.kubeconfig.exists()
        and succeeds(["docker", "exec", str(cluster.node), "test", "-e", "/kind/complete"])
        and succeeds(ready)
    )


def _patches(*, testing: bool) -> list[Path]:
    return sorted([*_PATCHES.glob("*.yaml"), *(_PATCHES.glob("for-tests/*") if testing else ())])


def _kind_config(name: str, patches: list[Path]) -> dict[str, Any]:
    init = {
        "kind": "InitConfiguration",
        "patches": {"directory": "/kind/patches"},
    }
    kubelet = {
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,  # some hosts, CI runners among them, still have only cgroup v1
    }
    node = {
        "role": "control-plane",
        "extraMounts": [
            {"hostPath": str(path), "containerPath": f"/kind/{inside}", "readOnly": True}
            for path, inside in [
                *((patch, f"patches/{patch.name}") for patch in patches),
                (_AUDIT_POLICY, "audit/policy.yaml"),
            ]
        ],
        "kubeadmConfigPatches": [yaml.safe_dump(patch) for patch in (init, kubelet)],
    }
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": name,
        "networking": {"ipFamily": "ipv4"},
        "nodes": [node],
    }


def _create(
    cluster: Cluster, spec: str, config: dict[str, Any], node_image: str, *, sealed: bool
) -> None:
    with step(f"Create the kind cluster {cluster.name}"):
        run(["docker", "network", "create", f"--label={_LABEL}={spec}", cluster.name])
        if sealed:
            _seal(cluster.name)
        cluster.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        run(
            [
                tool("kind"), "create", "cluster", "--config=-", "--wait=120s",
                f"--kubeconfig={cluster.kubeconfig}", f"--image={node_image}",
            ],
            stdin=yaml.safe_dump(config),
            # A network of its own: sealing it cuts off nobody else's cluster.
            env={"KIND_EXPERIMENTAL_DOCKER_NETWORK": cluster.name},
        )  # fmt: skip


def _equip(cluster: Cluster, *, sealed: bool) -> None:
    with step("Install CoreDNS settings and metrics-server"):
        _configure_dns(cluster, sealed=sealed)
        _install_metrics_server(cluster)
    run(["docker", "exec", str(cluster.node), "touch", "/kind/complete"])


def _configure_dns(cluster: Cluster, *, sealed: bool) -> None:
    """One small CoreDNS; in a sealed cluster without upstream, so that foreign names fail fast.

    Names of the cluster are not cached, as kubeadm has it: else workers that ask before the head
    has an address would be told for 30 s that it has none.
    """
    upstream = "" if sealed else "forward . /etc/resolv.conf\n"
    corefile = f""".:53 {{
    errors
    health {{
        lameduck 5s
    }}
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    {upstream}cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    reload
}}
"""
    configmap = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "coredns", "namespace": "kube-system"},
        "data": {"Corefile": corefile},
    }
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-",
                    stdin=yaml.safe_dump(configmap))  # fmt: skip
    cluster.kubectl("-n", "kube-system", "scale", "deployment/coredns", "--replicas=1")
    cluster.kubectl("-n", "kube-system", "set", "resources", "deployment/coredns",
                    "--requests=cpu=20m")  # fmt: skip


def _install_metrics_server(cluster: Cluster) -> None:
    settings = {
        "image.tag": gobuild.version("metrics-server"),
        "resources.requests.cpu": "20m",
        "readinessProbe.initialDelaySeconds": "0",  # it says itself when it is ready
        "readinessProbe.periodSeconds": "2",
        "args[0]": "--kubelet-insecure-tls",  # kind's kubelets sign their own certificates
    }
    run(
        [
            tool("helm"), "upgrade", "--install", "metrics-server",
            gobuild.source("metrics-server") / "charts" / "metrics-server",
            "--namespace=kube-system", f"--kubeconfig={cluster.kubeconfig}",
            *(f"--set={key}={value}" for key, value in settings.items()),
        ]
    )  # fmt: skip


# --- the seal --------------------------------------------------------------------------------
# Nothing that comes from the cluster's bridge leaves by another interface. Matching on interfaces
# leaves the nodes of one cluster free to talk to each other, and answers to the API's clients pass
# because their connections are established from outside.


def _rules(name: str) -> list[list[str]]:
    network = json.loads(run(["docker", "network", "inspect", name]))[0]
    bridge = network["Options"].get("com.docker.network.bridge.name", f"br-{network['Id'][:12]}")
    comment = ["-m", "comment", "--comment", f"{_LABEL}:{name}"]
    leaving = ["DOCKER-USER", "-i", bridge, "!", "-o", bridge]
    established = ["-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED"]
    return [
        [*leaving, *established, *comment, "-j", "RETURN"],
        [*leaving, *comment, "-j", "REJECT"],
    ]


def _is_sealed(name: str) -> bool:
    return all(succeeds(["iptables", "--wait", "-C", *rule]) for rule in _rules(name))


def _seal(name: str) -> None:
    """Put the rules at the head of Docker's own chain, each once and in this order."""
    _unseal(name)
    for rule in reversed(_rules(name)):
        run(["iptables", "--wait", "-I", *rule])


def _unseal(name: str) -> None:
    """Remove each rule of the cluster `name`, whichever bridge it was made for."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        return
    for rule in run(["iptables", "--wait", "-S"]).splitlines():
        words = rule.replace('"', "").split()
        if f"{_LABEL}:{name}" in words:
            run(["iptables", "--wait", "-D", *words[1:]])


def has_metrics(cluster: Cluster) -> bool:
    """Whether the metrics API, on which autoscalers depend, answers now.

    Raises CommandError if the cluster itself does not.
    """
    try:
        cluster.kubectl("get", "--raw=/apis/metrics.k8s.io/v1beta1/nodes")
    except CommandError as error:
        if "ServiceUnavailable" not in str(error) and "NotFound" not in str(error):
            raise
        return False
    return True


def wait_for_metrics(cluster: Cluster, *, timeout: float = 120) -> None:
    """Wait until the metrics API answers; `timeout` is in seconds. Raises UserError."""
    deadline = time.monotonic() + timeout
    while not has_metrics(cluster):
        if time.monotonic() > deadline:
            raise UserError(
                f"After {timeout:.0f} s the metrics server of {cluster.name} is silent."
            )
        time.sleep(1)
