"""Every image of the test bed, made of Debian packages, Go modules and Python wheels.

Each image of the engine is tagged with a digest of its inputs, so nothing is built twice and
nothing stale is used. Inside the cluster the images carry the names that people use
(`registry.k8s.io/kube-apiserver:v1.37.2`, `docker.io/rayproject/ray:2.60.0`): see `Image`.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness import debian, gobuild
from harness.console import Work, step, together
from harness.engine import import_programs
from harness.errors import UserError
from harness.paths import CACHE, PACKAGE
from harness.process import CommandError, pipe, run, succeeds
from harness.scratch import publish, scratch
from harness.tools import tool

PREFIX = "ray-testbed"  # every image and container that the harness makes begins with it
_ASSEMBLY = f"{PREFIX}-assemble"  # the container in which a node image is put together
NODE_FILES = PACKAGE / "node"
RAY_FILES = PACKAGE / "ray"

_ROOTS = {
    "node": (
        "conntrack", "containernetworking-plugins", "dbus", "ebtables", "ethtool", "ipset",
        "iproute2", "iptables", "jq", "kmod", "mount", "nftables", "procps", "runc", "socat",
        "systemd", "systemd-sysv", "util-linux",
    ),
    "kube-proxy": ("conntrack", "iptables", "kmod", "nftables"),
    # The test suite belongs to the standard library in Ray's own image, too.
    "python": (
        "ca-certificates", "libpython3.11-testsuite", "procps", "python3", "python3-venv", "wget",
    ),
    "redis": ("redis-server",),
    "prometheus": ("ca-certificates", "prometheus"),
    "registry": ("docker-registry",),
    # The font is what Ray's dashboard asks for first.
    "browser": ("chromium-headless-shell", "fonts-roboto-unhinted"),
}  # fmt: skip

# Modules whose programs become images of nothing else: image name -> (module, program).
_PROGRAMS = {
    "etcd": ("etcd", "server"),
    "coredns": ("coredns", "coredns"),
    "pause": ("pause", "pause"),
    "metrics-server": ("metrics-server", "metrics-server"),
    "local-path-provisioner": ("local-path-provisioner", "local-path-provisioner"),
}
_PROGRAM_MODULES = [module for module, _ in _PROGRAMS.values()]
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_DEBIAN = "docker.io/ray-testbed/debian:stable"  # in the cluster: a shell and coreutils


@dataclass(frozen=True)
class Image:
    """An image in the engine and the name it has inside the cluster."""

    tag: str
    reference: str


def kubernetes_module(kubernetes: str) -> str:
    """The module that holds Kubernetes `kubernetes`, a minor version such as '1.37'."""
    module = f"kubernetes-{kubernetes}"
    if not (gobuild.MODULES / module).exists():
        modules = gobuild.MODULES.glob("kubernetes-*")
        known = sorted(path.name.removeprefix("kubernetes-") for path in modules)
        raise UserError(f"Kubernetes {kubernetes} is not built here; choose {' or '.join(known)}.")
    return module


REDIS_REFERENCE = "docker.io/library/redis:7"  # Debian's, which starts as that one does
PROMETHEUS_REFERENCE = "docker.io/prom/prometheus:v2.42.0"  # Debian's, with promtool

# --- the images that the cluster needs -------------------------------------------------------


def node(kubernetes: str) -> str:
    """Make the kind node image for Kubernetes `kubernetes` ('1.37') and return its tag."""
    together(*gobuild.lanes(*node_modules(kubernetes)), pending_node_roots())
    tag = f"{PREFIX}/node:{_node_key(kubernetes)}"
    if not exists(tag):
        with step("Assemble the kind node image"):
            _assemble_node(kubernetes, tag)
    return tag


def ray(version: str) -> Image:
    """Make the Ray image of `version`, for example '2.60.0'."""
    image = _ray(version)
    if not exists(image.tag):
        together(pending_ray(version))
        with step(f"Build the Ray {version} image"), scratch(_cache()) as context:
            # Links, not copies: these are some 200 MB.
            wheels = _wheels(_ray_lock(version))
            shutil.copytree(wheels, context / "wheels", copy_function=os.link)
            dockerfile = RAY_FILES / "Dockerfile"
            _docker_build(dockerfile, context, image.tag, root=_root_tag("python"))
    return image


def redis() -> Image:
    """Make the Redis image of the tests: `redis-server` and `redis-cli` on PATH."""
    return Image(_root("redis"), REDIS_REFERENCE)


def prometheus() -> Image:
    """Make the Prometheus image of the tests: `prometheus` and `promtool` on PATH."""
    return Image(_root("prometheus"), PROMETHEUS_REFERENCE)


def registry() -> str:
    """Make the image of a container registry for the tests, `docker-registry`; return its tag."""
    return _root("registry")


def browser() -> str:
    """Make the image of a browser, `chromium-headless-shell`, for pictures; return its tag."""
    return _root("browser")


def _ray(version: str) -> Image:
    inputs = (_ray_lock(version).read_text(), (RAY_FILES / "Dockerfile").read_text())
    key = _digest(_root_tag("python"), *inputs)
    return Image(f"{PREFIX}/ray:{version}-{key}", ray_reference(version))


def ray_reference(version: str) -> str:
    """What the chart calls the image of Ray `version`."""
    return f"docker.io/rayproject/ray:{version}"


def metrics_server_reference() -> str:
    """What the chart of metrics-server calls its image."""
    return f"registry.k8s.io/metrics-server/metrics-server:{gobuild.version('metrics-server')}"


def _ray_lock(version: str) -> Path:
    lock = RAY_FILES / f"{version}.lock"
    if not lock.exists():
        known = sorted(p.stem for p in RAY_FILES.glob("*.lock"))
        raise UserError(f"Ray {version} is not built here; choose one of {', '.join(known)}.")
    return lock


# --- what they are made of -------------------------------------------------------------------


def node_modules(kubernetes: str) -> list[str]:
    """The Go modules that a node image is made of, the slowest first."""
    return [kubernetes_module(kubernetes), "containerd", "helm4", *_PROGRAM_MODULES]


def pending_node_roots() -> Work:
    """The Debian roots that are left to make before a node image can be assembled."""
    return _pending_roots("node", "kube-proxy")


def _pending_roots(*names: str) -> Work:
    return {
        f"Debian root: {name}": partial(_root, name)
        for name in names
        if not exists(_root_tag(name))
    }


def pending_for_tests() -> Work:
    """The Debian roots that are left to make before the images of the tests alone are there."""
    return _pending_roots("redis", "prometheus")


def pending_ray(version: str) -> Work:
    """What is left to make before the Ray image can be built."""
    if exists(_ray(version).tag):
        return {}
    lock = _ray_lock(version)
    work: Work = {}
    if not _wheel_folder(lock).exists():
        work[f"Download Ray {version}"] = partial(_wheels, lock)
    return work | _pending_roots("python")


def _root_tag(name: str) -> str:
    return f"{PREFIX}/root-{name}:{_digest(debian.SUITE, *_ROOTS[name])}"


def _root(name: str) -> str:
    tag = _root_tag(name)
    if not exists(tag):
        with scratch(_cache()) as temporary:
            archive = temporary / "root.tar"
            debian.root_tarball(archive, _ROOTS[name])
            run(["docker", "import", archive, tag])
    return tag


def _wheels(lock: Path) -> Path:
    """The wheels that `lock` names, for the Debian root's Python, checked against its hashes."""
    folder = _wheel_folder(lock)
    if not folder.exists():
        machine = os.uname().machine
        # pip takes platform tags literally: name each glibc that Debian's 2.36 can run.
        glibcs = [f"manylinux_2_{minor}_{machine}" for minor in range(5, 37)]
        platforms = [*glibcs, f"manylinux2014_{machine}", f"linux_{machine}"]
        with scratch(_cache()) as temporary:
            unfinished = temporary / "wheels"
            try:
                run(
                    [
                        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                        "--require-hashes", "--requirement", lock, "--only-binary=:all:",
                        "--python-version=3.11", "--implementation=cp",
                        *(f"--platform={name}" for name in platforms), "--dest", unfinished,
                    ]
                )  # fmt: skip
            except CommandError as error:
                raise UserError(
                    "Ray's wheels could not be downloaded; check the network and pip's "
                    f"configuration.\n{error}"
                ) from error
            publish(unfinished, folder)
    return folder


def _wheel_folder(lock: Path) -> Path:
    return _cache() / f"wheels-{_digest(lock.read_text())}"


def _program_tag(name: str, module: str) -> str:
    return f"{PREFIX}/{name}:{gobuild.key(module)}"


def _program_image(name: str, module: str, program: str) -> str:
    tag = _program_tag(name, module)
    if not exists(tag):
        path = f"/usr/local/bin/{name}"
        import_programs(
            tag,
            {path: gobuild.build(module) / program},
            f'ENTRYPOINT ["{path}"]',
            "ENV PATH=/usr/local/bin",
        )
    return tag


def _kube_proxy_image(module: str) -> str:
    tag = _program_tag("kube-proxy", module)
    if not exists(tag):
        with scratch(_cache()) as context:
            shutil.copy2(gobuild.build(module) / "kube-proxy", context)
            dockerfile = context / "Dockerfile"
            dockerfile.write_text("ARG ROOT\nFROM $ROOT\nCOPY kube-proxy /usr/local/bin/\n")
            _docker_build(dockerfile, context, tag, root=_root_tag("kube-proxy"))
    return tag


# --- the node image --------------------------------------------------------------------------


def _node_key(kubernetes: str) -> str:
    modules = [kubernetes_module(kubernetes), "containerd", *_PROGRAM_MODULES]
    files = [file.read_text() for file in sorted(NODE_FILES.iterdir())]
    this = Path(__file__).read_text()  # the assembly itself
    roots = [_root_tag(name) for name in ("node", "kube-proxy")]
    return f"{kubernetes}-{_digest(*(gobuild.key(m) for m in modules), *files, *roots, this)}"


def _assemble_node(kubernetes: str, tag: str) -> None:
    module = kubernetes_module(kubernetes)
    preloaded = _preloaded(module)
    pause = next(image.reference for image in preloaded if "/pause:" in image.reference)
    stage = f"{tag}-stage"
    with scratch(_cache()) as context:
        for file in NODE_FILES.iterdir():
            shutil.copy2(file, context)
        config = context / "containerd.toml"
        config.write_text(config.read_text().replace("PAUSE_IMAGE", pause))
        (context / "version").write_text(gobuild.version(module))
        (context / "default-storage.yaml").write_text(_storage())
        (context / "bin").mkdir()
        for program in ("kubeadm", "kubectl", "kubelet"):
            shutil.copy2(gobuild.build(module) / program, context / "bin")
        shutil.copytree(gobuild.build("containerd"), context / "containerd")
        _docker_build(context / "Dockerfile", context, stage, root=_root_tag("node"))
    with _container(stage) as container:
        # An overlay, which the container's own files are, cannot carry another.
        _import(container, preloaded, "--no-unpack")
        run(["docker", "kill", "--signal=TERM", container])
        run(["docker", "wait", container])
        entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
        run(["docker", "commit", "--change", entrypoint, "--change", "CMD []", container, tag])
    run(["docker", "image", "rm", stage])


def _preloaded(module: str) -> list[Image]:
    """What a node must have before it can start: the control plane, and the add-ons."""
    listed = run(
        [gobuild.build(module) / "kubeadm", "config", "images", "list",
         f"--kubernetes-version={gobuild.version(module)}"]
    )  # fmt: skip
    tags = {name: _program_image(name, *made) for name, made in _PROGRAMS.items()}
    tags |= {name: _program_image(name, module, name) for name in _CONTROL_PLANE}
    tags["kube-proxy"] = _kube_proxy_image(module)
    references = [
        *listed.split(),
        metrics_server_reference(),
        "docker.io/rancher/local-path-provisioner:" + gobuild.version("local-path-provisioner"),
    ]
    named = [Image(tags[ref.rpartition(":")[0].rpartition("/")[2]], ref) for ref in references]
    return [*named, Image(_root_tag("kube-proxy"), _DEBIAN)]


def _storage() -> str:
    """The manifest that kind applies for the `standard` StorageClass."""
    chart = gobuild.source("local-path-provisioner") / "deploy" / "chart"
    repository, _, helper_tag = _DEBIAN.rpartition(":")
    settings = {
        "image.repository": "docker.io/rancher/local-path-provisioner",
        "image.tag": gobuild.version("local-path-provisioner"),
        "helperImage.repository": repository,
        "helperImage.tag": helper_tag,
        "storageClass.name": "standard",
        "storageClass.defaultClass": "true",
        # /var is a volume of the node's container; the rest of it is an overlay.
        "nodePathMap[0].node": "DEFAULT_PATH_FOR_NON_LISTED_NODES",
        "nodePathMap[0].paths[0]": "/var/local-path-provisioner",
    }
    namespace = "local-path-storage"
    rendered = run(
        [
            tool("helm"), "template", "local-path-provisioner", chart / "local-path-provisioner",
            f"--namespace={namespace}", *(f"--set={k}={v}" for k, v in settings.items()),
        ]
    )  # fmt: skip
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n{rendered}"


@contextmanager
def _container(image: str) -> Iterator[str]:
    """A throw-away container of `image` in which containerd runs."""
    name = _ASSEMBLY
    run(["docker", "rm", "--force", "--volumes", name])  # left behind by a killed run
    run(["docker", "run", "--detach", "--privileged", "--network=none", f"--name={name}",
         "--entrypoint=/usr/local/bin/containerd", image])  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while not succeeds(["docker", "exec", name, "ctr", "version"]):
            if time.monotonic() > deadline:
                raise CommandError(["containerd"], "no answer after 30 s", _logs(name))
            time.sleep(0.2)
        yield name
    finally:
        run(["docker", "rm", "--force", "--volumes", name])


def _logs(container: str) -> str:
    return run(["sh", "-c", 'docker logs "$0" 2>&1', container])


def _import(container: str, images: Iterable[Image], *options: str) -> None:
    """Bring `images` into the containerd of `container` under their references.

    What is not unpacked here containerd unpacks when a pod first needs it, and as many times at
    once as pods need it first.
    """
    images = list(images)
    ctr = ["docker", "exec", "--interactive", container, "ctr", "--namespace=k8s.io", "images"]
    pipe(
        ["docker", "save", *sorted({image.tag for image in images})],
        [*ctr, "import", *options, "-"],
    )
    for image in images:
        run([*ctr, "tag", "--force", f"docker.io/{image.tag}", image.reference])
    run([*ctr, "remove", *sorted({f"docker.io/{image.tag}" for image in images})])


def load(node_container: str, image: Image) -> None:
    """Bring `image` into a running kind node unless it is there already."""
    marker = f"/kind/loaded/{image.tag.replace('/', '_')}"
    if succeeds(["docker", "exec", node_container, "test", "-e", marker]):
        return
    _import(node_container, [image])
    run(["docker", "exec", node_container, "mkdir", "-p", "/kind/loaded"])
    run(["docker", "exec", node_container, "touch", marker])


# --- small parts -----------------------------------------------------------------------------


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def exists(tag: str) -> bool:
    """Whether the engine has an image of that name."""
    return succeeds(["docker", "image", "inspect", tag])


def _cache() -> Path:
    """Beside the wheels, so that files of theirs can be linked into a build's context."""
    return CACHE / "images"


def _docker_build(dockerfile: Path, context: Path, tag: str, *, root: str) -> None:
    run(["docker", "build", "--quiet", "--network=none", f"--build-arg=ROOT={root}",
         f"--tag={tag}", f"--file={dockerfile}", context])  # fmt: skip


def remove_all() -> None:
    """Remove every image that the harness made from the engine."""
    run(["docker", "rm", "--force", "--volumes", _ASSEMBLY])  # left behind by a killed run
    listed = run(["docker", "image", "ls", f"--filter=reference={PREFIX}/*",
                  "--format={{.Repository}}:{{.Tag}}"])  # fmt: skip
    if tags := listed.split():
        run(["docker", "image", "rm", "--force", *tags])
