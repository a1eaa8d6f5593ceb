#!/usr/bin/env bash
# The operator's handbook (docs/handbook/), run block by block against a real installation.
#
#   tests/handbook/run.sh             everything
#   tests/handbook/run.sh 8 41-43     these blocks alone (their numbers are in docs/handbook.md)
#
# The installation is made by deploy/scripts/install.sh at the printed paths and ports, inside
# namespaces of its own (mounts, network, processes): nothing of it is seen outside, two runs don't
# meet, and all of it is gone at the end. That takes root on Linux; else it is left out. As root on
# Debian and Ubuntu
# missing programs are installed. SKIP_HANDBOOK=1 leaves this test out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

if [ "${SKIP_HANDBOOK:-}" = 1 ]; then
    echo "tests/handbook: skipped, because SKIP_HANDBOOK=1"
    exit 0
fi
spaces=(unshare --mount --net --pid --fork --mount-proc --kill-child)
if ! "${spaces[@]}" true 2>/dev/null; then
    # Nobody has to be root to run all other tests.
    echo "tests/handbook: skipped, because namespaces can't be made here (root on Linux can)"
    exit 0
fi
missing() {
    echo "tests/handbook: $1" >&2
    echo "tests/handbook: SKIP_HANDBOOK=1 leaves this test out" >&2
    exit 1
}

tmp=$(mktemp -d /tmp/handbook-XXXXXX)
trap 'rm -rf "$tmp"' EXIT

# The program that says whether a package is here, and the package.
programs="python3:python3 curl:curl jq:jq bc:bc ps:procps netstat:net-tools dig:bind9-dnsutils \
    nslookup:bind9-dnsutils telnet:telnet iostat:sysstat ping:iputils-ping ip:iproute2 \
    openssl:openssl psql:postgresql-client promtool:prometheus prometheus:prometheus \
    unshare:util-linux setpriv:util-linux script:bsdutils useradd:passwd"
packages=()
for pair in $programs; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
done
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || packages+=(postgresql)
jemalloc='/usr/lib/*/libjemalloc_pic.a'
# Building it from source is the better part of a build; elsewhere that is how it is had.
if command -v apt-get >/dev/null; then
    compgen -G "$jemalloc" >/dev/null || packages+=(libjemalloc-dev)
fi
if [ "${#packages[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        missing "these packages are not here: ${packages[*]}"
    fi
    export DEBIAN_FRONTEND=noninteractive
    # No service is to start for being installed.
    install() {
        RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >"$tmp/apt" 2>&1
    }
    install || { apt-get update -qq && install; } || { cat "$tmp/apt" >&2; exit 1; }
fi
python=python3
if ! python3 -c 'import tomllib' 2>/dev/null || [[ $(command -v python3) = /opt/* ]]; then
    python=/usr/bin/python3 # inside, /opt is another one
fi

"$python" "$here/blocks.py" check

if jemalloc=$(compgen -G "$jemalloc"); then
    export JEMALLOC_OVERRIDE=$jemalloc
fi
# As it is shipped: only jemalloc can say what holds memory.
cargo build --quiet --manifest-path "$root/Cargo.toml" -p gateway --features jemalloc
# Go's own reader of profiles has a say where Go is; it is built when first asked for.
PATH=$PATH:/usr/local/go/bin
if command -v go >/dev/null; then
    GOCACHE=$(go env GOCACHE)
    export GOCACHE
    go tool pprof -h >/dev/null 2>&1 || true
fi
# What goes inside: /tmp and /opt, where all this may stand, are others there.
mkdir "$tmp/stage"
cp "${CARGO_TARGET_DIR:-$root/target}/debug/newapi" "$tmp/stage/newapi"
cp -r "$here" "$tmp/stage/handbook"
cp -r "$root/deploy" "$tmp/stage/deploy"
cp -r "$root/docs/handbook" "$tmp/stage/handbook/docs"
"${spaces[@]}" "$here/inside.sh" "$tmp/stage" "$python" "$@"
