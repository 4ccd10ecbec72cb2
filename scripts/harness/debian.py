"""Debian packages: what this machine needs, and root file systems for images."""

import os
import platform
import re
import shutil
from pathlib import Path

from harness.console import step
from harness.errors import UserError
from harness.process import CommandError, run
from harness.scratch import scratch

SUITE = "bookworm"  # Python 3.11 and runc 1.1, which the images are tested with


def missing(programs: dict[str, str]) -> list[str]:
    """The Debian packages of those `programs` (name -> package) that are not on PATH."""
    # Where Debian keeps dockerd, iptables and the like; not on every user's PATH.
    for folder in ("/usr/sbin", "/sbin"):
        if folder not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] += os.pathsep + folder
    return sorted({package for name, package in programs.items() if not shutil.which(name)})


def install(packages: list[str]) -> None:
    """Install `packages` with apt-get.

    Raises UserError where that is impossible: no apt, no root, no package index.
    """
    if not packages:
        return
    names = " ".join(packages)
    if not shutil.which("apt-get"):
        raise UserError(f"{names}: install them (or what your system calls them) and try again.")
    if os.geteuid() != 0:
        raise UserError(f"Run `sudo apt-get install {names}` and try again.")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"Install {names}"):
        try:
            run(["apt-get", "update"], env=quiet)
            run(
                ["apt-get", "install", "--yes", "--no-install-recommends", *packages],
                env=quiet,
            )
        except CommandError as error:
            raise UserError(
                "The Debian package index could not be used; check the network and "
                f"/etc/apt/sources.list*.\n{error}"
            ) from error


def root_tarball(destination: Path, packages: tuple[str, ...]) -> None:
    """Write a minimal Debian root with `packages` to `destination`, a tar file.

    The packages come from the mirror that this host's apt uses for Debian itself.
    """
    with scratch(destination.parent) as folder:
        sources = folder / "sources.list"
        sources.write_text(_host_sources())
        run(
            [
                "mmdebstrap", "--variant=minbase", "--mode=root", "--format=tar",
                "--aptopt=Acquire::Retries \"3\"",
                # Documentation and translations are a third of a minimal root.
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                f"--include={','.join(packages)}",
                SUITE, destination, sources,
            ],
            env={"TMPDIR": str(folder)},
        )  # fmt: skip


def _host_sources() -> str:
    """This host's apt lines for Debian, as a sources.list for SUITE."""
    host = platform.freedesktop_os_release()
    codename = host.get("VERSION_CODENAME", "")
    if host["ID"] != "debian" or not codename:
        raise UserError(
            f"Building images from packages needs a Debian host (this is {host['ID']}): use one, "
            "or `--images registry`."
        )
    listed = run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"])
    entries = {tuple(line.split()) for line in listed.splitlines() if len(line.split()) == 3}
    lines = {
        f"deb {site} {release.replace(codename, SUITE)} main\n"
        for site, release, component in entries
        if component == "main" and re.fullmatch(rf"{codename}(-updates|-security)?", release)
    }
    if not lines:
        raise UserError(
            "This host's apt sources name no mirror of Debian, which the images are built from: "
            f"add a line `deb <your mirror> {codename} main` to /etc/apt/sources.list.d/."
        )
    return "".join(sorted(lines))
