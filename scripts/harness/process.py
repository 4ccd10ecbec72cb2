"""Starting other programs: one helper, so that each failure shows its command and output."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

Command = Sequence[str | Path]


class CommandError(Exception):
    """A program ended with an exit code other than 0, or did not end in time.

    The message holds the command, the reason, and the last lines of what it printed.
    """

    def __init__(self, command: Command, reason: str, output: str):
        self.output = output
        tail = "\n".join(output.strip().splitlines()[-30:])
        super().__init__(f"{shlex.join(map(str, command))}\n{reason}\n{tail}".rstrip())


def run(
    command: Command,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run `command` to its end and return its standard output.

    `env` is added to this process's environment; `timeout` is in seconds. Raises CommandError,
    whose message ends with standard error (or, if that is empty, standard output).
    """
    try:
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            # Without this a child would read the terminal, or wait for it in CI.
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise CommandError(command, f"{command[0]} is not installed", "") from error
    except subprocess.TimeoutExpired as error:
        output = error.stderr or error.output or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        raise CommandError(command, f"no end after {timeout:.0f} s", text) from error
    if done.returncode:
        raise CommandError(command, f"exit code {done.returncode}", done.stderr or done.stdout)
    return done.stdout


def succeeds(command: Command, *, timeout: float | None = None) -> bool:
    """Whether `command` exists and ends with exit code 0."""
    try:
        run(command, timeout=timeout)
    except CommandError:
        return False
    return True


def pipe(producer: Command, consumer: Command) -> None:
    """Stream the output of `producer` into `consumer`; raises CommandError for either."""
    with subprocess.Popen(
        list(map(str, producer)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as source:
        sink = subprocess.run(
            list(map(str, consumer)), stdin=source.stdout, capture_output=True, check=False
        )
        assert source.stdout is not None
        assert source.stderr is not None
        source.stdout.close()
        complaint = source.stderr.read().decode(errors="replace")
    if sink.returncode:
        raise CommandError(
            consumer, f"exit code {sink.returncode}", sink.stderr.decode(errors="replace")
        )
    if source.returncode:
        raise CommandError(producer, f"exit code {source.returncode}", complaint)
