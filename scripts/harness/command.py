"""What the commands share: how they end, and their common options."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from harness import registry
from harness.console import out
from harness.errors import UserError
from harness.process import CommandError
from harness.registry import Registry
from harness.tools import NEWEST_KUBERNETES

_DISK_FULL = os.strerror(errno.ENOSPC).lower()  # as Python, Go and the C library say it
DEFAULT_NAME = "ray-testbed"


def main(action: Callable[[], object]) -> None:
    """Run `action`; what a person can mend ends with one message and exit code 1.

    SIGTERM, by which a CI job is cancelled, interrupts it as Ctrl-C does: it cleans up.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        action()
    except (UserError, CommandError, OSError) as error:
        if _DISK_FULL in str(error).lower():
            message = "The disk is full: make room and run the command again; it goes on from here."
        elif isinstance(error, OSError):
            raise
        else:
            message = str(error)
        out.print(f"[bold red]✗[/] {escape(message)}")
        sys.exit(1)
    except KeyboardInterrupt:
        out.print("[bold]Interrupted.[/] The next run goes on from here.")
        sys.exit(130)


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which cluster to use and how to make it."""
    parser.add_argument(
        "--kubernetes",
        default=NEWEST_KUBERNETES,
        metavar="MINOR",
        help="Kubernetes of the kind cluster (default: %(default)s)",
    )
    parser.add_argument(
        "--images",
        choices=("auto", "packages", "registry"),
        default="auto",
        help="where images come from: pulled from registries, built from packages, or pulled if "
        "the registry of the node image answers (default)",
    )
    parser.add_argument(
        "--registry",
        metavar="HOST[:PORT]",
        help="pull from this mirror of docker.io and registry.k8s.io, with the same repositories",
    )
    parser.add_argument(
        "--node-image",
        metavar="REF@DIGEST",
        help="pull this kind node image instead of the one that belongs to --kubernetes",
    )
    add_cluster_choice(parser)


def image_source(arguments: argparse.Namespace) -> Registry | None:
    """What the options of `add_cluster_options` say about images; None stands for packages."""
    return registry.choose(
        arguments.images,
        kubernetes=arguments.kubernetes,
        mirror=arguments.registry,
        node_image=arguments.node_image,
    )


def add_cluster_choice(parser: argparse.ArgumentParser) -> None:
    """The options that name a cluster."""
    parser.add_argument(
        "--kubeconfig", type=Path, help="use this cluster of yours instead of a kind cluster"
    )
    parser.add_argument(
        "--name", default=DEFAULT_NAME, help="name of the kind cluster (default: %(default)s)"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before changing the machine")
