#!/usr/bin/env bash
# Sends bodies that are meant to be misread through a real server to readers in Go (net/http),
# Python (Flask) and Node (Express, multer): each reads the model that was paid for, or the server
# refuses.
#
# Needs Go, Node with npm, and once the network, to fetch the packages. Without them this fails and
# says what is missing; SKIP_READERS=1 leaves the test out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export READERS_DIR=${READERS_DIR:-$root/target/readers}

missing() {
    echo "tests/readers: $1" >&2
    echo "tests/readers: SKIP_READERS=1 leaves this test out" >&2
    exit 1
}

if [ "${SKIP_READERS:-}" != 1 ]; then
    command -v go >/dev/null || missing "go is not installed (apt-get install golang-go)"
    command -v npm >/dev/null || missing "npm is not installed (apt-get install nodejs npm)"
    mkdir -p "$READERS_DIR"
    (cd "$here" && GOFLAGS='' GOTOOLCHAIN=local GO111MODULE=off go build -o "$READERS_DIR/reader-go" reader.go) ||
        missing "the reader in Go does not build"
    cp "$here/reader.js" "$here/reader.py" "$READERS_DIR/"
    if ! cmp -s "$here/package.json" "$READERS_DIR/package.json" || [ ! -d "$READERS_DIR/node_modules" ]; then
        cp "$here/package.json" "$READERS_DIR/package.json"
        npm install --prefix "$READERS_DIR" --silent --no-audit --no-fund --ignore-scripts || {
            rm -rf "$READERS_DIR/package.json"
            missing "npm could not fetch express and multer: is there a network?"
        }
    fi
fi
exec "$here/../python-client.sh" readers
