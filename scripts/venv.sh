# Sourced by the commands beside it: makes .testbed/venv what requirements.lock says.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state="$root/.testbed"
venv="$state/venv"

fail() {
  echo "$1" >&2
  exit 1
}

prepare_venv() {
  local python=${PYTHON:-python3} wanted
  command -v "$python" >/dev/null || fail "Python 3.11 or newer is needed: install python3 and try again."
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, $("$python" --version) is on PATH: install a newer one, or name it with PYTHON=."
  mkdir -p "$state"
  wanted=$(cat "$root/requirements.lock" "$root/pyproject.toml" <("$python" --version) <(echo "$root") | sha256sum)
  # One command at a time: two must not write the same environment.
  exec 9>"$state/venv.lock"
  flock 9
  if [[ $(cat "$venv/complete" 2>/dev/null) != "$wanted" ]]; then
    echo "• Create the Python environment in .testbed/venv (about half a minute)" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv" ||
      fail "Python cannot create a virtual environment: install python3-venv and try again."
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
      --requirement "$root/requirements.lock" >"$state/pip.log" 2>&1 ||
      fail "The Python packages cannot be installed; check the network and pip's configuration. $(tail -n 1 "$state/pip.log")"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
      --editable "$root" >"$state/pip.log" 2>&1 || fail "The harness cannot be installed: $(cat "$state/pip.log")"
    echo "$wanted" >"$venv/complete"
  fi
  exec 9>&-
}

# Usage: run_harness MODULE ARGUMENTS...
run_harness() {
  local module=$1
  shift
  prepare_venv
  exec "$venv/bin/python" -m "harness.$module" "$@"
}
