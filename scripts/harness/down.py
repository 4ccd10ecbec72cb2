"""Remove what ./scripts/up made: the release, the kind clusters and their network rules."""

import argparse
import asyncio

import pyhelm3

from harness import cluster as clusters
from harness import engine, helm, images
from harness.command import add_cluster_choice, main
from harness.console import confirm, out, step
from harness.errors import UserError
from harness.paths import STATE
from harness.process import run as run_command
from harness.scratch import remove_tree, unmount_below
from harness.up import RELEASE


def run() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="./scripts/down", description=__doc__)
    parser.add_argument("--namespace", default="ray", help="with --kubeconfig: of the release")
    parser.add_argument(
        "--all", action="store_true", help="the caches, too: images, builds, this engine"
    )
    add_cluster_choice(parser)
    arguments = parser.parse_args()
    if arguments.kubeconfig:
        _uninstall(arguments)
        return
    with clusters.exclusive():
        names = (arguments.name, clusters.for_tests(arguments.name))
        deleted = [clusters.delete(name) for name in names]
        if not engine.answers():
            out.print(
                "• No Docker engine answers, so no cluster runs. One that was there comes back "
                "with the engine: start that and run this again."
            )
        elif not any(deleted):
            out.print(f"• There is no cluster {arguments.name}.")
        if arguments.all:
            _check_nothing_is_in_use()
            confirm(
                "Remove the builds of this checkout, and the images that all checkouts share?",
                yes=arguments.yes,
            )
            _remove_caches()


def _check_nothing_is_in_use() -> None:
    if others := clusters.names():
        commands = " and ".join(f"`./scripts/down --name {name}`" for name in others)
        raise UserError(f"Other clusters use the images: run {commands} first.")


def _uninstall(arguments: argparse.Namespace) -> None:
    """Remove the release, and nothing else, from a cluster that is not ours."""
    cluster = clusters.existing(arguments.kubeconfig)
    with step(f"helm uninstall {RELEASE}"):
        try:
            asyncio.run(
                helm.client(cluster.kubeconfig).uninstall_release(
                    RELEASE, namespace=arguments.namespace, wait=True
                )
            )
        except pyhelm3.errors.Error as error:
            raise UserError(f"Helm refused: {error.stderr.decode().strip()}") from error


def _remove_caches() -> None:
    with step("Remove images and builds"):
        if engine.answers():
            images.remove_all()
            engine.stop()
        unmount_below(STATE)
        if (STATE / "go").exists():  # the module cache of a Go of our own is read-only
            run_command(["chmod", "-R", "u+w", STATE])
        # Last: this program itself runs from there.
        remove_tree(STATE)


if __name__ == "__main__":
    main(run)
