"""Runs `ray` with the arguments given, in this process, which SIGTERM ends from the beginning.

Nothing ends a container's first process that has not said how, and Ray says so only when all of it
is loaded. A pod that has to go before would stay for its whole grace period, and take tasks.
"""

import os
import signal
import sys

sys.path[:] = filter(None, sys.path)  # not the working directory, where users' modules may lie
signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

from ray.scripts.scripts import main  # noqa: E402

sys.argv[0] = "ray"
main()
