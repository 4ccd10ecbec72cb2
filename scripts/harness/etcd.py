"""What a kind cluster keeps in etcd: what the API shows of an object is not that.

Only in a cluster of the harness's own, whose node is a container here. Raises OSError.
"""

import base64
import json
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.cluster import Cluster
from harness.process import run

_PKI = "/etc/kubernetes/pki/etcd"
_PORT = 2379
_PREFIX = "/registry/"


def sizes(cluster: Cluster, prefix: str = _PREFIX) -> dict[str, int]:
    """Bytes of each key that begins with `prefix`, the key's own included."""
    return dict(map(_size, _ask(cluster, "range", prefix).get("kvs", [])))


def forget_namespaces(cluster: Cluster, prefix: str) -> None:
    """Remove the namespaces whose names begin with `prefix`, with all that is in them, at once.

    Controllers hear of it as of any removal. Theirs takes 80 requests per namespace, and nobody's
    finalizers are asked here.
    """
    while folders := {
        head
        for pair in _ask(cluster, "range", _PREFIX, keys_only=True)["kvs"]
        for head, found, _ in [base64.b64decode(pair["key"]).decode().partition(f"/{prefix}")]
        if found
    }:
        # The namespaces first: then nobody can make anew what goes.
        for folder in sorted(folders, key=lambda folder: folder != f"{_PREFIX}namespaces"):
            _ask(cluster, "deleterange", f"{folder}/{prefix}")


def _ask(cluster: Cluster, what: str, prefix: str, **options: bool) -> Any:
    """Etcd's answer about the keys that begin with `prefix`."""
    body = {"key": _encoded(prefix), "range_end": _encoded(_end(prefix)), **options}
    request = urllib.request.Request(
        f"https://{cluster.address}:{_PORT}/v3/kv/{what}", data=json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, context=_context(str(cluster.node)), timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def _size(pair: dict[str, str]) -> tuple[str, int]:
    key = base64.b64decode(pair["key"])
    return key.decode(), len(key) + len(base64.b64decode(pair.get("value", "")))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _end(prefix: str) -> str:
    """The first key after all that begin with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _context(node: str) -> ssl.SSLContext:
    """TLS as the API server speaks it to etcd."""
    context = ssl.create_default_context(cadata=_read(node, "ca.crt"))
    with tempfile.TemporaryDirectory() as folder:
        files = [
            Path(folder, name) for name in ("healthcheck-client.crt", "healthcheck-client.key")
        ]
        for file in files:
            file.touch(mode=0o600)
            file.write_text(_read(node, file.name))
        certificate, key = files
        context.load_cert_chain(certificate, key)
    return context


def _read(node: str, name: str) -> str:
    return run(["docker", "exec", node, "cat", f"{_PKI}/{name}"])


def of_namespace(keys: dict[str, int], namespace: str) -> Iterator[tuple[str, int]]:
    """Those of `keys` that are the namespace's or in it, events aside."""
    for key, size in keys.items():
        kind, *rest = key.removeprefix(_PREFIX).split("/")
        if kind != "events" and namespace in rest:
            yield key, size
