"""Where things are, in one place."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "ray-cluster"
PACKAGE = Path(__file__).resolve().parent

STATE = ROOT / ".testbed"  # git-ignored; everything the harness makes lives below it
BIN = STATE / "bin"
CACHE = STATE / "cache"
LOGS = STATE / "log"
REPORTS = STATE / "report"
