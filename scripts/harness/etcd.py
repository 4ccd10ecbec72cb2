"""What a kind cluster keeps in etcd: what the API shows of an object is not that.

Only in a cluster of the harness's own, whose node is a container here. Raises OSError.
"""

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from harness.cluster import Cluster
from harness.process import run

_PKI = "/etc/kubernetes/pki/etcd"
_PORT = 2379
_PREFIX = "/registry/"
_THREADS = 8


def sizes(cluster: Cluster, prefix: str = _PREFIX) -> dict[str, int]:
    """Bytes of each key that begins with `prefix`, the key's own included."""
    with _connected(cluster.address, _context(cluster)) as etcd:
        return dict(map(_size, _ask(etcd, "range", _range(prefix)).get("kvs", [])))


def forget_namespaces(cluster: Cluster, prefix: str) -> None:
    """Remove the namespaces whose names begin with `prefix`, with all that is in them, at once.

    Controllers hear of it as of any removal, but no finalizer is asked. Their own way takes 80
    requests per namespace.
    """
    context = _context(cluster)

    def forget(keys: list[str]) -> None:
        with _connected(cluster.address, context) as etcd:
            for key in keys:  # one by one: to the API server each change has its own revision
                _ask(etcd, "deleterange", {"key": _encoded(key)})

    def found() -> list[str]:
        with _connected(cluster.address, context) as etcd:
            pairs = _ask(etcd, "range", _range(_PREFIX) | {"keys_only": True})["kvs"]
        keys = (base64.b64decode(pair["key"]).decode() for pair in pairs)
        return [key for key in keys if f"/{prefix}" in key]

    while keys := found():
        namespaces = {key for key in keys if key.startswith(f"{_PREFIX}namespaces/")}
        # The namespaces first: then nobody can make anew what goes.
        for some in (list(namespaces), [key for key in keys if key not in namespaces]):
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(forget, (some[start::_THREADS] for start in range(_THREADS))))


@contextmanager
def _connected(address: str, context: ssl.SSLContext) -> Iterator[HTTPSConnection]:
    connection = HTTPSConnection(address, _PORT, context=context, timeout=60)
    with closing(connection):
        yield connection


def _ask(etcd: HTTPSConnection, what: str, body: dict[str, Any]) -> Any:
    etcd.request("POST", f"/v3/kv/{what}", json.dumps(body))
    answer = etcd.getresponse()
    text = answer.read()
    if answer.status != HTTPStatus.OK:
        raise OSError(f"etcd: {answer.status} {text.decode(errors='replace')}")
    return json.loads(text)


def _range(prefix: str) -> dict[str, Any]:
    """All keys that begin with `prefix`."""
    after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": _encoded(prefix), "range_end": _encoded(after)}


def _size(pair: dict[str, str]) -> tuple[str, int]:
    key = base64.b64decode(pair["key"])
    return key.decode(), len(key) + len(base64.b64decode(pair.get("value", "")))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _context(cluster: Cluster) -> ssl.SSLContext:
    """TLS as the API server speaks it to etcd."""
    node = str(cluster.node)
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
