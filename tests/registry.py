"""Debian's container registry: open on the loopback interface, or behind TLS and a password."""

import json
import re
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import cluster, images
from harness.paths import STATE
from harness.process import run
from harness.scratch import scratch

from .e2e.release import wait_until

PORT = 5000
_START_SECONDS = 30


@dataclass(frozen=True)
class Private:
    """A registry with TLS and a password, and what its clients need."""

    host: str
    certificate: Path
    user: str
    password: str


@contextmanager
def storage() -> Iterator[Path]:
    """A folder for images, which may be large, and go even if this process is killed."""
    with scratch(STATE / "registries") as folder:
        yield folder


@contextmanager
def open_to_all(folder: Path) -> Iterator[tuple[str, str]]:
    """A registry without TLS, as Docker accepts it there; yields its HOST:PORT and its container.

    `folder` keeps the images for another registry.
    """
    with _serving(folder, {}, f"--publish=127.0.0.1::{PORT}") as container:
        host = run(["docker", "port", container, str(PORT)]).strip()
        _wait_for(f"http://{host}/v2/", 200)
        yield host, container


@contextmanager
def private(folder: Path, network: str) -> Iterator[Private]:
    """A registry with the images in `folder` on the network of a kind cluster."""
    name = f"{images.PREFIX}-registry-{secrets.token_hex(4)}"
    user, password = "robot", secrets.token_hex(16)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2",
         f"-subj=/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", key, "-out", certificate]
    )  # fmt: skip
    # As htpasswd writes it, which would take half of a web server along.
    salted = "print crypt($ARGV[0], q($2b$05$) . $ARGV[1])"
    hashed = run(
        ["docker", "run", "--rm", "--network=none", images.registry(),
         "perl", "-e", salted, password, secrets.token_hex(11)]
    )  # fmt: skip
    (folder / "htpasswd").write_text(f"{user}:{hashed}\n")
    config = {
        "http": {"tls": {"certificate": "/registry/tls.crt", "key": "/registry/tls.key"}},
        "auth": {"htpasswd": {"realm": "tests", "path": "/registry/htpasswd"}},
    }
    # With kind's label it goes together with the cluster if nobody removes it before.
    label = f"--label=io.x-k8s.kind.cluster={network}"
    with _serving(folder, config, f"--name={name}", f"--network={network}", label) as container:
        address = run(
            ["docker", "inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}}"
             "{{end}}", container]
        ).strip()  # fmt: skip
        _wait_for(f"https://{address}:{PORT}/v2/", 401, certificate)
        yield Private(f"{name}:{PORT}", certificate, user, password)


@contextmanager
def _serving(folder: Path, config: dict[str, Any], *options: str) -> Iterator[str]:
    """A container of the registry with `config` over the least that it needs."""
    whole = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": "/registry/images"}},
        **config,
        "http": {"addr": f":{PORT}", **config.get("http", {})},
    }
    (folder / "config.yml").write_text(json.dumps(whole))
    with cluster.exclusive():
        image = images.registry()
    container = run(
        ["docker", "run", "--detach", "--rm", f"--volume={folder}:/registry", *options, image,
         "docker-registry", "serve", "/registry/config.yml"]
    ).strip()  # fmt: skip
    try:
        yield container
    finally:
        run(["docker", "rm", "--force", "--volumes", container])


def _wait_for(url: str, status: int, certificate: Path | None = None) -> None:
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False  # it is asked by its address

    def answer() -> int | str:
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as response:  # noqa: S310
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError as error:
            return str(error)

    wait_until(
        f"the answer {status} from {url}",
        answer,
        lambda seen: seen == status,
        timeout=_START_SECONDS,
    )


def push(tag: str, reference: str) -> str:
    """Push the image `tag` as `reference` and return its digest.

    Docker keeps each manifest that it has seen and asks no registry for it again, so the image gets
    a label that no earlier run can have known.
    """
    label = f"--label=served={secrets.token_hex(8)}"
    run(["docker", "build", "--network=none", label, f"--tag={reference}", "-"],
        stdin=f"FROM {tag}\n")  # fmt: skip
    pushed = run(["docker", "push", reference])
    run(["docker", "image", "rm", reference])
    digest = re.search(r"digest: (sha256:[0-9a-f]{64})", pushed)
    assert digest, pushed
    return digest[1]
