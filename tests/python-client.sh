#!/usr/bin/env bash
# Runs tests/NAME/test_NAME.py with the package of tests/NAME/requirements.txt against a real
# server, newly built.
#
#   tests/python-client.sh openai
#
# Prints "N passed, 0 failed" and exits 0, or says what failed and exits 1. Python 3 with venv is
# needed, and once the network, to fetch the package. Without them this fails and says what is
# missing; SKIP_NAME=1 (SKIP_OPENAI=1) leaves the test out.
set -euo pipefail
name=$1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$root/tests/$name
skip=SKIP_${name^^}
place=${name^^}_VENV
venv=${!place:-$root/target/$name-venv}
package=$(cat "$here/requirements.txt")

missing() {
    echo "tests/$name: $1" >&2
    echo "tests/$name: $skip=1 leaves this test out" >&2
    exit 1
}

if [ "${!skip:-}" = 1 ]; then
    echo "tests/$name: skipped, because $skip=1"
    exit 0
fi
command -v python3 >/dev/null || missing "python3 is not installed (apt-get install python3-venv)"

# The package is fetched once, and again when another version is asked for.
if [ "$(cat "$venv/done" 2>/dev/null || true)" != "$package" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv" ||
        missing "python3 has no venv (apt-get install python3-venv)"
    # shellcheck disable=SC2086
    "$venv/bin/pip" install --quiet --disable-pip-version-check $package ||
        missing "pip could not fetch $package: is there a network?"
    echo "$package" >"$venv/done"
fi

cargo build --quiet --manifest-path "$root/Cargo.toml" -p gateway
export PYTHONPATH=$root/tests PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" "$here/test_$name.py" "${CARGO_TARGET_DIR:-$root/target}/debug/newapi"
