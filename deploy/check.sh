#!/usr/bin/env bash
# Checks everything under deploy/ with the tools that read it. As root on Debian and Ubuntu it
# installs those that are missing; elsewhere it says which. Those of check/requirements.txt come from
# PyPI, into an environment under target/. What can't be had on a machine (kubectl, docker compose
# and, without a network, those from PyPI) is named as skipped.
set -euo pipefail
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
skipped=()

step() { printf -- '-- %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

missing=()
need() { have "$1" || missing+=("$2"); }
# Lists may be old or absent on a fresh machine. No service is to start for being installed.
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    local get=(apt-get install -y -qq --no-install-recommends)
    RUNLEVEL=1 "${get[@]}" "$@" >"$tmp/apt" 2>&1 \
        || { apt-get update -qq && RUNLEVEL=1 "${get[@]}" "$@"; } >"$tmp/apt" 2>&1
}
can_install() { [ "$(id -u)" -eq 0 ] && have apt-get; }
# What can be done without: it is here, or installed, or skipped.
want() {
    if have "$1" || { can_install && apt_install "$2" && have "$1"; }; then return 0; fi
    skipped+=("$3")
    return 1
}

need systemd-analyze systemd
need promtool prometheus
need shellcheck shellcheck
need logrotate logrotate
need python3 python3
python3 -c 'import yaml' 2>/dev/null || missing+=(python3-yaml)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ "${#missing[@]}" -gt 0 ]; then
    if ! can_install; then
        echo "missing: ${missing[*]} (Debian, Ubuntu: sudo apt-get install ${missing[*]})" >&2
        exit 1
    fi
    apt_install "${missing[@]}" || { cat "$tmp/apt" >&2; exit 1; }
fi
python=python3
if ! "$python" -c 'import yaml' 2>/dev/null; then
    # apt gives its modules to the system's own Python, which need not be the first one.
    python=/usr/bin/python3
fi

# Fetched once, and again when another version is asked for.
venv="$PWD/../target/deploy-venv"
if ! cmp -s check/requirements.txt "$venv/done"; then
    rm -rf "$venv"
    if "$python" -m venv "$venv" && "$venv/bin/pip" install --quiet \
        --disable-pip-version-check -r check/requirements.txt >"$tmp/pip" 2>&1; then
        cp check/requirements.txt "$venv/done"
    fi
fi
# A tool of that environment, if it is there.
tool() {
    if [ -e "$venv/done" ] && [ -x "$venv/bin/$1" ]; then return 0; fi
    skipped+=("$1")
    return 1
}

step "systemd"
unit=systemd/newapi.service
# The binary is not here; everything else that it says is a finding.
systemd-analyze verify "$unit" 2>&1 | grep -v 'newapi is not executable' >"$tmp/unit" || true
if grep -F newapi.service "$tmp/unit"; then exit 1; fi
systemd-analyze security --offline=true --threshold=20 --no-pager "$unit" | tail -n 1

step "logrotate"
# Its user is not on every machine; what else it finds is a mistake.
mkdir -p "$tmp/var/log"
sed -e "s|/var/log|$tmp/var/log|" -e 's/newapi newapi$/root root/' logrotate/newapi >"$tmp/rotate"
chmod 0644 "$tmp/rotate"
echo line >"$tmp/var/log/newapi.log"
if [ "$(id -u)" -ne 0 ]; then sed -i "s/root root$/$(id -un) $(id -gn)/" "$tmp/rotate"; fi
logrotate -d -s "$tmp/state" "$tmp/rotate" >"$tmp/out" 2>&1 || { cat "$tmp/out"; exit 1; }
if grep -i '^error' "$tmp/out"; then exit 1; fi
# And once in earnest: the old line is kept, and a new, empty file is in its place.
logrotate -f -s "$tmp/state" "$tmp/rotate"
[ ! -s "$tmp/var/log/newapi.log" ] && grep -q line "$tmp"/var/log/newapi.log-*

step "shell"
shellcheck -x ./*.sh
(cd scripts && shellcheck -x ./*.sh)
(cd check && shellcheck -x -P "$PWD/../scripts" -e SC1091 ./*.sh)
check/scripts.sh

step "Prometheus and Grafana"
promtool check rules prometheus/alerts.yml
promtool check config prometheus/prometheus.yml
promtool test rules prometheus/alerts_test.yml
"$python" check/metrics.py "$tmp/dashboard.yml"
promtool check rules "$tmp/dashboard.yml" >"$tmp/out" 2>&1 || { cat "$tmp/out"; exit 1; }

step "containers"
"$python" check/manifests.py
manifests=(kubernetes/[!k]*.yaml)
if want kubectl kubectl "kubectl kustomize"; then
    kubectl kustomize kubernetes >"$tmp/rendered.yaml"
    manifests+=("$tmp/rendered.yaml")
fi
# The oldest version that the manifests are meant for, and the newest that is known.
if tool kubernetes-validate; then
    for version in 1.30 1.37; do
        "$venv/bin/kubernetes-validate" --strict --quiet -k "$version" "${manifests[@]}"
    done
fi
if tool hadolint; then "$venv/bin/hadolint" docker/Dockerfile; fi
if tool check-jsonschema; then
    "$venv/bin/check-jsonschema" --quiet --builtin-schema vendor.compose-spec docker/compose.yml
fi
if docker compose version >/dev/null 2>&1; then
    docker compose -f docker/compose.yml config --quiet
elif want docker-compose docker-compose "docker compose config"; then
    # Version 1 does not know the project's name.
    sed '/^name:/d' docker/compose.yml \
        | docker-compose --project-directory docker -f - config --quiet
fi

for name in "${skipped[@]}"; do echo "skipped: $name is not here"; done
echo "deploy files: all right"
