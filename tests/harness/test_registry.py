"""Where images and tools come from: a registry that really serves them, or packages."""

import hashlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness import gobuild, registry, tools
from harness.errors import UserError
from harness.process import run
from harness.registry import NODES, Registry

MANIFEST = b'{"schemaVersion": 2}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
TOKEN = "any-token"  # noqa: S105
DEADLINE_SECONDS = 0.5
HANG_SECONDS = 20
KIND_DEFAULT = Path("pkg", "apis", "config", "defaults", "image.go")

Handler = type[BaseHTTPRequestHandler]


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 and its key."""

    file: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", made.key, "-out", made.file]
    )  # fmt: skip
    return made


@pytest.fixture
def serve(certificate: Certificate) -> Iterator[Callable[[Handler], str]]:
    """Start an HTTPS server with a handler; returns HOST:PORT."""
    servers: list[ThreadingHTTPServer] = []

    def _serve(handler: Handler) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield _serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine trusts the certificate of `serve`."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Honest(_Quiet):
    """An open registry, as Docker Hub is: everybody gets a token, and nothing goes without one."""

    def do_GET(self) -> None:
        host = self.headers["Host"]
        challenge = f'Bearer realm="https://{host}/token",service="here",scope="pull,push"'
        if self.path == "/token?service=here&scope=pull%2Cpush":
            self.answer(200, json.dumps({"token": TOKEN}).encode())
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, b"", WWW_Authenticate=challenge)
        elif self.path == f"/v2/kindest/node/manifests/{DIGEST}":
            self.answer(200, MANIFEST)
        else:
            self.answer(404, b"")


def _always(status: int, body: bytes = b"", **headers: str) -> Handler:
    class _Always(_Quiet):
        def do_GET(self) -> None:
            self.answer(status, body, **headers)

    return _Always


class _Hanging(_Quiet):
    def do_GET(self) -> None:
        time.sleep(HANG_SECONDS)


def _obstacle(host: str) -> str | None:
    return registry.find_obstacle(f"{host}/kindest/node:v1.37.0@{DIGEST}")


# --- the probe -------------------------------------------------------------------------------


def test_an_honest_registry_counts(serve: Callable[[Handler], str], trusted: None) -> None:
    assert _obstacle(serve(_Honest)) is None


def test_an_untrusted_certificate_does_not_count(serve: Callable[[Handler], str]) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in str(_obstacle(serve(_Honest)))


@pytest.mark.parametrize(
    ("handler", "complaint"),
    [
        (_always(200), "answers with something else than kindest/node:v1.37.0"),
        (_always(200, b'{"schemaVersion": 1}'), "answers with something else"),
        (_always(404, MANIFEST), "Not Found"),
        (_always(401), "asks for a password"),
        (_always(401, WWW_Authenticate='Basic realm="here"'), "asks for a password"),
        (_always(401, WWW_Authenticate='Bearer realm="http://127.0.0.1/"'), "is not HTTPS"),
    ],
    ids=["everything-200", "other-digest", "everything-404", "mute", "password", "plain-realm"],
)
def test_any_other_answer_counts_as_none(
    serve: Callable[[Handler], str], trusted: None, handler: Handler, complaint: str
) -> None:
    assert complaint in str(_obstacle(serve(handler)))


def test_a_registry_that_hangs_is_not_waited_for(
    serve: Callable[[Handler], str], trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_ANSWER_SECONDS", DEADLINE_SECONDS)
    began = time.monotonic()
    assert "no answer within 0.5 s" in str(_obstacle(serve(_Hanging)))
    assert time.monotonic() - began < HANG_SECONDS / 2


def test_a_name_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hung.wait(HANG_SECONDS))
    monkeypatch.setattr(registry, "_ANSWER_SECONDS", DEADLINE_SECONDS)
    began = time.monotonic()
    assert "no answer within 0.5 s" in str(_obstacle("registry.example"))
    assert time.monotonic() - began < HANG_SECONDS / 2
    hung.set()


def test_nothing_that_listens_is_no_registry() -> None:
    assert "Connection refused" in str(_obstacle("127.0.0.1:1"))


def test_docker_hub_is_asked_where_its_api_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(url: str) -> bytes:
        asked.append(url)
        return b""

    monkeypatch.setattr(registry, "_read_manifest", read)
    registry.find_obstacle(f"docker.io/kindest/node:v1.37.0@{DIGEST}")
    assert asked == [f"https://registry-1.docker.io/v2/kindest/node/manifests/{DIGEST}"]


# --- the choice ------------------------------------------------------------------------------


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Registry | None]]:
    """registry.choose for Kubernetes 1.37, whose answers and environment end with the test."""
    monkeypatch.setenv(tools._PREFER_PATH, "")
    registry.choose.cache_clear()
    yield partial(registry.choose, kubernetes="1.37")
    registry.choose.cache_clear()


def test_auto_takes_packages_where_no_registry_answers(
    choose: Callable[..., Registry | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose("auto", mirror="127.0.0.1:1") is None
    assert "Images: from packages (127.0.0.1:1: " in capsys.readouterr().out


def test_auto_takes_the_registry_that_answers(
    choose: Callable[..., Registry | None], serve: Callable[[Handler], str], trusted: None
) -> None:
    mirror = serve(_Honest)
    chosen = choose("auto", mirror=mirror, node_image=f"kindest/node@{DIGEST}")
    assert chosen == Registry(f"docker.io/kindest/node@{DIGEST}", mirror)


def test_whoever_asks_for_a_registry_is_not_asked_back(
    choose: Callable[..., Registry | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_obstacle", lambda _: pytest.fail("probed"))
    assert choose("registry") == Registry(NODES["1.37"])


def test_a_mirror_stands_for_the_public_registries_alone() -> None:
    mirrored = Registry(NODES["1.37"], "harbor.example.com:8443/mirror")
    assert mirrored.source("docker.io/rayproject/ray:2.60.0") == (
        "harbor.example.com:8443/mirror/rayproject/ray:2.60.0"
    )
    assert mirrored.source("registry.k8s.io/pause:3.10") == (
        "harbor.example.com:8443/mirror/pause:3.10"
    )
    assert mirrored.source("ghcr.io/own/node:1") == "ghcr.io/own/node:1"
    assert Registry(NODES["1.37"]).source("docker.io/rayproject/ray:2.60.0") == (
        "docker.io/rayproject/ray:2.60.0"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"source": "packages", "mirror": "harbor.example.com"},
            "--registry says what to pull, and --images packages pulls nothing.",
        ),
        (
            {"source": "packages", "node_image": f"kindest/node@{DIGEST}"},
            "--node-image says what to pull, and --images packages pulls nothing.",
        ),
        (
            {"source": "registry", "mirror": "https://harbor.example.com"},
            "--registry https://harbor.example.com: give the host as in an image's name",
        ),
        (
            {"source": "registry", "mirror": "harbor"},
            "--registry harbor: give the host as in an image's name",
        ),
        (
            {"source": "registry", "node_image": "kindest/node:v1.37.0"},
            "--node-image kindest/node:v1.37.0: give the image with its digest",
        ),
        (
            {"source": "registry", "kubernetes": "1.12"},
            "Kubernetes 1.12 is not built here; choose 1.34 or 1.37.",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    choose: Callable[..., Registry | None], options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        choose(options.pop("source"), **options)


def test_registries_and_packages_offer_the_same_kubernetes() -> None:
    built = {path.name.removeprefix("kubernetes-") for path in gobuild.MODULES.glob("kubernetes-*")}
    assert set(NODES) == built


def test_the_newest_node_image_is_the_one_of_the_pinned_kind() -> None:
    default = (gobuild.source("kind") / KIND_DEFAULT).read_text()
    assert f'"{NODES[tools.NEWEST_KUBERNETES].removeprefix("docker.io/")}"' in default


def test_an_image_that_cannot_be_pulled_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho no basic auth credentials >&2\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    private = Registry(NODES["1.37"], "harbor.example.com")
    sentence = r"(?s)harbor\.example\.com/rayproject/ray:2\.60\.0 cannot be pulled.*no basic auth"
    with pytest.raises(UserError, match=sentence):
        private.pull("docker.io/rayproject/ray:2.60.0")


# --- tools -----------------------------------------------------------------------------------


def _put(folder: Path, name: str, printed: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{printed}'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only one on PATH, of a machine whose tools shall be used."""
    monkeypatch.setenv(tools._PREFER_PATH, "1")
    monkeypatch.setenv("PATH", str(tmp_path / "machine"))
    monkeypatch.setattr(tools, "BIN", tmp_path / "bin")
    monkeypatch.setattr(gobuild, "build", lambda module: tmp_path / f"built-{module}")
    return tmp_path / "machine"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("kind", "kind v0.33.0 go1.26.8 linux/amd64"),
        ("helm", 'version.BuildInfo{Version:"v4.0.1", GoVersion:"go1.25.1"}'),
        ("helm3", 'version.BuildInfo{Version:"v3.18.4", GoVersion:"go1.24.4"}'),
        ("kubectl", "Client Version: v1.36.2"),
    ],
)
def test_a_tool_on_path_is_used(machine: Path, name: str, printed: str) -> None:
    program = _put(machine, name, printed)
    assert tools.tool(name).readlink() == program
    assert tools.modules(name) == []


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("kind", "kind v0.20.0 go1.20.4 linux/amd64"),
        ("helm", 'version.BuildInfo{Version:"v3.22.0", GoVersion:"go1.26.8"}'),
        ("helm3", 'version.BuildInfo{Version:"v3.17.4", GoVersion:"go1.24.4"}'),
        ("kubectl", "Client Version: v1.32.4"),
        ("kubectl", "a program of another kind"),
    ],
)
def test_a_tool_of_another_version_is_built(
    machine: Path, tmp_path: Path, name: str, printed: str
) -> None:
    _put(machine, name, printed)
    module, program = tools._TOOLS[name]
    assert tools.tool(name).readlink() == tmp_path / f"built-{module}" / program
    assert tools.modules(name) == [module]


def test_a_tool_that_is_nowhere_is_built(machine: Path, tmp_path: Path) -> None:
    assert tools.tool("kind").readlink() == tmp_path / "built-kind" / "kind"


def test_the_harness_never_takes_its_own_link_for_the_machines_tool(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(tmp_path / "bin", "kind", "kind v0.33.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert tools.tool("kind").readlink() == tmp_path / "built-kind" / "kind"


def test_packages_take_no_tool_from_path(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tools._PREFER_PATH)
    _put(machine, "kind", "kind v0.33.0")
    assert tools.tool("kind").readlink() == tmp_path / "built-kind" / "kind"
