"""Images from container registries, where one can be reached: pinned, mirrored, probed, pulled."""

import hashlib
import json
import queue
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from urllib.parse import urlencode

from harness import images
from harness.console import Work, out, together
from harness.errors import UserError
from harness.images import Image
from harness.process import CommandError, run
from harness.tools import prefer_path

# The node images that the pinned kind was released with: its release notes name them.
NODES = {
    "1.34": "docker.io/kindest/node:v1.34.11"
    "@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d",
    "1.37": "docker.io/kindest/node:v1.37.0"
    "@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
}

_MIRRORED = ("docker.io", "registry.k8s.io")
_API_HOSTS = {"docker.io": "registry-1.docker.io"}
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_MANIFEST_BYTES = 4 << 20  # the most that registries have to accept
_ANSWER_SECONDS = 5  # in all: where nothing can be reached, even a look-up of the name may hang


@dataclass(frozen=True)
class Registry:
    """Where images are pulled from: `node` is the kind node image, with its digest.

    `mirror` (HOST[:PORT][/PATH]) serves what docker.io and registry.k8s.io do; None means those
    themselves.
    """

    node: str
    mirror: str | None = None

    def pull(self, *references: str) -> list[Image]:
        """Pull images side by side into the engine, unless they are there from an earlier time.

        `references` are the names that the cluster knows them by. Raises UserError for an image
        that cannot be had.
        """
        pulled = {
            source: Image(_tag(source), reference)
            for source, reference in ((self.source(name), name) for name in references)
        }
        missing: list[Work] = [
            {f"Pull {source.partition('@')[0]}": partial(_pull, source, image.tag)}
            for source, image in pulled.items()
            if not images.exists(image.tag)
        ]
        together(*missing)
        return list(pulled.values())

    def probe(self) -> list[str]:
        """A probe for `engine.ensure` of an image that is pulled in any case."""
        (node,) = self.pull(self.node)
        return ["--entrypoint=/bin/true", node.tag]

    def source(self, reference: str) -> str:
        """The name under which the engine asks for `reference`."""
        host, _, rest = reference.partition("/")
        return f"{self.mirror}/{rest}" if self.mirror and host in _MIRRORED else reference


@cache  # asked once: a command must not change its mind between two clusters
def choose(
    source: str, *, kubernetes: str, mirror: str | None = None, node_image: str | None = None
) -> Registry | None:
    """Where images come from; None stands for packages.

    `source` is 'packages', 'registry', or 'auto': a registry where it serves the kind node image
    for Kubernetes `kubernetes` ('1.37'), or `node_image` in its stead. Raises UserError for options
    that contradict each other or are not of their form.
    """
    images.kubernetes_module(kubernetes)  # refuses a version that is not known here
    if source == "packages":
        if mirror or node_image:
            option = "--registry" if mirror else "--node-image"
            raise UserError(f"{option} says what to pull, and --images packages pulls nothing.")
        return None
    registry = Registry(
        _full_name(node_image) if node_image else NODES[kubernetes],
        _checked_mirror(mirror) if mirror else None,
    )
    if source == "auto":
        obstacle = find_obstacle(registry.source(registry.node))
        if obstacle:
            out.print(f"• Images: from packages ({obstacle})", markup=False)
            return None
        out.print(f"• Images: from {registry.mirror or 'their registries'}", markup=False)
    prefer_path()
    return registry


def _checked_mirror(mirror: str) -> str:
    host = mirror.partition("/")[0]
    # Without a dot or a port Docker would take the host for a folder of docker.io.
    if not re.fullmatch(r"[\w.-]+(:\d+)?(/[\w./-]*\w)?", mirror) or not (
        "." in host or ":" in host or host == "localhost"
    ):
        raise UserError(
            f"--registry {mirror}: give the host as in an image's name, for example "
            "harbor.example.com or harbor.example.com:8443/mirror."
        )
    return mirror


def _full_name(node_image: str) -> str:
    """`node_image` with its registry: as for Docker, docker.io where the name has none."""
    if not re.fullmatch(r"[\w./:-]+@sha256:[0-9a-f]{64}", node_image):
        raise UserError(
            f"--node-image {node_image}: give the image with its digest, for example "
            f"{NODES['1.37']}."
        )
    host, slash, _ = node_image.partition("/")
    if slash and ("." in host or ":" in host or host == "localhost"):
        return node_image
    return f"docker.io/{node_image}" if slash else f"docker.io/library/{node_image}"


# --- pulling ---------------------------------------------------------------------------------


def _tag(source: str) -> str:
    """The name of our own that `source` gets in the engine, where `down --all` finds it."""
    path = source.partition("@")[0]
    name, _, version = path.rpartition("/")[2].partition(":")
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    return f"{images.PREFIX}/{name}:{version or 'pinned'}-{digest}"


def _pull(source: str, tag: str) -> None:
    was_there = images.exists(source)
    try:
        if not was_there:
            run(["docker", "pull", "--quiet", source])
    except CommandError as error:
        raise UserError(
            f"{source} cannot be pulled: check the network and `docker login`, or choose another "
            f"source with --registry or --images.\n{error}"
        ) from error
    run(["docker", "tag", source, tag])
    if not was_there:
        run(["docker", "image", "rm", source])  # only the name: the image has ours


# --- the probe -------------------------------------------------------------------------------


def find_obstacle(reference: str) -> str | None:
    """Why the manifest of `reference` (with a digest) cannot be had; None if it can.

    Asks its registry as any client without an account would, over verified TLS, and compares the
    digest of what comes back: what answers on a network is not always what was asked for.
    """
    host, _, rest = reference.partition("/")
    path, _, digest = rest.partition("@")
    repository = path.partition(":")[0]
    api = f"https://{_API_HOSTS.get(host, host)}/v2/{repository}/manifests/{digest}"
    content = _within(_ANSWER_SECONDS, lambda: _read_manifest(api))
    if isinstance(content, str):
        return f"{host}: {content}"
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        return f"{host} answers with something else than {path}"
    return None


def _within(seconds: float, read: Callable[[], bytes]) -> bytes | str:
    """What `read` returns, or what it complains about; no answer in time is a complaint, too."""
    answers: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(read())
        except Exception as error:  # no server can answer so oddly that this must end the run
            answers.put(str(getattr(error, "reason", error)) or type(error).__name__)

    # No timeout of a socket covers the look-up of a name. The thread ends with the process.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except queue.Empty:
        return f"no answer within {seconds} s"


def _read_manifest(url: str) -> bytes:
    accept = {"Accept": ", ".join(_MANIFESTS)}
    try:
        return _get(url, accept)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        token = _fetch_token(error.headers.get("WWW-Authenticate", ""))
    return _get(url, accept | {"Authorization": f"Bearer {token}"})


def _fetch_token(challenge: str) -> str:
    """The token that a registry's `challenge` says where to get; most give one to anybody."""
    scheme, _, parameters = challenge.partition(" ")
    fields = urllib.request.parse_keqv_list(urllib.request.parse_http_list(parameters))
    if scheme.lower() != "bearer" or "realm" not in fields:
        raise ValueError("asks for a password")
    query = [(key, fields[key]) for key in ("service", "scope") if key in fields]
    answer = json.loads(_get(f"{fields['realm']}?{urlencode(query)}", {}))
    return str(answer.get("token") or answer.get("access_token"))


def _get(url: str, headers: dict[str, str]) -> bytes:
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not HTTPS")
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310 (_within has the time limit)
        content: bytes = answer.read(_MANIFEST_BYTES)
        return content
