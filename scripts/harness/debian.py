"""Debian packages: what this machine needs, and root file systems for images."""

import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

from harness.console import confirm, step
from harness.errors import UserError
from harness.process import CommandError, run

SUITE = "bookworm"  # Python 3.11 and runc 1.1, which the images are tested with


def require_programs(programs: dict[str, str], *, purpose: str, yes: bool) -> None:
    """Install the Debian packages of those `programs` (name -> package) that are not on PATH.

    Raises UserError where that is impossible: no apt, no root, no package index, a refusal.
    """
    os.environ["PATH"] += os.pathsep + "/usr/sbin:/sbin"  # where Debian keeps dockerd, iptables …
    missing = {program: package for program, package in programs.items() if not _found(program)}
    if not missing:
        return
    packages = sorted(set(missing.values()))
    wanted = ", ".join(missing)
    if not _found("apt-get"):
        raise UserError(f"{purpose} needs {wanted}: install them with your package manager.")
    if os.geteuid() != 0:
        raise UserError(
            f"{purpose} needs {wanted}: run `sudo apt-get install {' '.join(packages)}` and try "
            "again."
        )
    confirm(f"Install {' '.join(packages)} with apt-get ({purpose})?", yes=yes)
    with step(f"Install {' '.join(packages)}"):
        try:
            run(["apt-get", "update"], env={"DEBIAN_FRONTEND": "noninteractive"})
            run(
                ["apt-get", "install", "--yes", "--no-install-recommends", *packages],
                env={"DEBIAN_FRONTEND": "noninteractive"},
            )
        except CommandError as error:
            raise UserError(
                "The Debian package index could not be used; check the network and "
                f"/etc/apt/sources.list*.\n{error}"
            ) from error


def _found(program: str) -> bool:
    return shutil.which(program) is not None


def root_tarball(destination: Path, packages: tuple[str, ...]) -> None:
    """Write a minimal Debian root with `packages` to `destination`, a tar file.

    The packages come from the mirror that this host's apt uses for Debian itself.
    """
    with tempfile.TemporaryDirectory() as temporary:
        sources = Path(temporary) / "sources.list"
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
            ]
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
