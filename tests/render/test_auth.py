"""The token that a cluster asks for: where it comes from, who gets it, and where it is not."""

import base64
import re
from typing import Any

import pytest

from harness.helm import dry_run, template
from harness.paths import CHART
from harness.process import run
from harness.tools import tool

from .objects import Object, deployments, env, find, inventory

SECRET = "ray-ray-cluster-auth"  # noqa: S105
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


def token(**values: Any) -> Object:
    """Values with these of the token."""
    return {"auth": {"token": values}}


def from_secret(name: str, key: str) -> Object:
    """The variable's source."""
    return {"secretKeyRef": {"name": name, "key": key}}


def render_as_helm_does(helm: str) -> str:
    """The chart's Secret, with the random token that `harness.helm` takes out."""
    template = "templates/auth/secret.yaml"
    return run([tool(helm), "template", "ray", CHART, f"--show-only={template}"])


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_token_of_the_charts_making_is_32_random_bytes(helm: str) -> None:
    tokens = set()
    for _ in range(2):
        (encoded,) = re.findall(r'token: "(.*)"', render_as_helm_does(helm))
        tokens.add(base64.b64decode(encoded).decode())
    assert all(re.fullmatch("[0-9a-f]{64}", token) for token in tokens)
    assert len(tokens) == 2


def test_secret_outlives_the_release(defaults: list[Object]) -> None:
    secret = find(defaults, "Secret", SECRET)
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_every_node_gets_the_token_from_the_secret(defaults: list[Object]) -> None:
    for deployment in deployments(defaults):
        assert env(deployment)[MODE] == "token"
        assert env(deployment)[TOKEN] == from_secret(SECRET, "token")


def test_token_is_in_no_other_object(defaults: list[Object]) -> None:
    data = find(defaults, "Secret", SECRET)["data"]["token"]
    secrets = {data, base64.b64decode(data).decode()}
    others = [obj for obj in defaults if obj["kind"] != "Secret"]
    assert not [obj for obj in others if any(text in str(obj) for text in secrets)]


def test_token_is_not_in_the_notes() -> None:
    release = dry_run()
    (data,) = re.findall(r'token: "(.*)"', release["manifest"])
    assert base64.b64decode(data).decode() not in release["info"]["notes"]
    assert data not in release["info"]["notes"]


@pytest.mark.parametrize("enabled", [None, True])
def test_secret_of_the_users_takes_the_place_of_the_charts(enabled: bool | None) -> None:
    objects = template(token(enabled=enabled, existingSecret="theirs", existingSecretKey="a.b"))
    assert "Secret" not in {kind for kind, _ in inventory(objects)}
    assert [env(obj)[TOKEN] for obj in deployments(objects)] == 2 * [from_secret("theirs", "a.b")]


def test_key_is_of_the_users_secret_alone() -> None:
    objects = template(token(existingSecretKey="theirs"))
    assert [env(obj)[TOKEN] for obj in deployments(objects)] == 2 * [from_secret(SECRET, "token")]


def test_cluster_without_a_token_says_so_to_ray() -> None:
    """Newer versions of Ray would take one of their own otherwise, each node another."""
    objects = template(token(enabled=False))
    assert "Secret" not in {kind for kind, _ in inventory(objects)}
    assert [env(obj)[MODE] for obj in deployments(objects)] == ["disabled"] * 2
    assert not [obj for obj in deployments(objects) if TOKEN in env(obj)]


@pytest.mark.parametrize(("version", "asks"), [("2.51.2", False), ("2.52.0", True)])
def test_old_ray_has_no_token(version: str, asks: bool) -> None:
    objects = template({"image": {"tag": version}})
    assert (("Secret", SECRET) in inventory(objects)) == asks
    assert {MODE in env(obj) for obj in deployments(objects)} == {asks}
    assert {TOKEN in env(obj) for obj in deployments(objects)} == {asks}


NOBODY = "WARNING: dashboard, Jobs API, Ray client and every node of Ray's ask nobody for a token"


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        (token(enabled=False), f"{NOBODY}, since auth.token.enabled is false."),
        ({"image": {"tag": "2.51.2"}}, f"{NOBODY}, since Ray 2.51.2 cannot:"),
        ({"image": {"tag": "2.53.0"}}, "Ray 2.53.0 asks for no token at port 52365 of its nodes"),
        ({"image": {"tag": "2.54.0"}}, None),
        ({}, None),
    ],
)
def test_notes_warn_of_what_is_open(values: Object, warning: str | None) -> None:
    notes = dry_run(values)["info"]["notes"]
    assert ("any code in it" in notes or "asks for no token" in notes) == bool(warning)
    assert (warning or "") in notes


@pytest.mark.parametrize(
    ("values", "name", "key"),
    [
        ({}, SECRET, "token"),
        (token(existingSecret="theirs", existingSecretKey="a.b"), "theirs", "a.b"),
    ],
)
def test_notes_tell_how_to_read_the_token(values: Object, name: str, key: str) -> None:
    command = (
        f"kubectl -n team-a get secret {name} "
        f"-o go-template='{{{{index .data \"{key}\" | base64decode}}}}'"
    )
    notes = dry_run(values, namespace="team-a")["info"]["notes"]
    assert f'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$({command})"' in notes


def test_notes_of_a_cluster_without_a_token_do_not_mention_it() -> None:
    assert TOKEN not in dry_run(token(enabled=False))["info"]["notes"]
