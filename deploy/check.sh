#!/usr/bin/env bash
# Checks everything under deploy/ with the tools that read it. As root on Debian and Ubuntu it
# installs those that are missing; elsewhere it says which. What is not packaged there
# (kubectl, kubernetes-validate, hadolint, docker compose) is used where it is, and else named as skipped.
set -euo pipefail
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
skipped=()

step() { printf -- '-- %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

missing=()
need() { have "$1" || missing+=("$2"); }
need systemd-analyze systemd
need promtool prometheus
need shellcheck shellcheck
need logrotate logrotate
need python3 python3
python3 -c 'import yaml' 2>/dev/null || missing+=(python3-yaml)
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
        echo "missing: ${missing[*]} (Debian, Ubuntu: sudo apt-get install ${missing[*]})" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    # Lists may be old or absent on a fresh machine. No service is to start for being installed.
    install() {
        RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$tmp/apt" 2>&1
    }
    install || { apt-get update -qq && install; } || { cat "$tmp/apt" >&2; exit 1; }
fi
python=python3
if ! "$python" -c 'import yaml' 2>/dev/null; then
    # apt gives its modules to the system's own Python, which need not be the first one.
    python=/usr/bin/python3
fi

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
rendered=""
if have kubectl && kubectl kustomize kubernetes >"$tmp/rendered.yaml" 2>"$tmp/out"; then
    rendered="$tmp/rendered.yaml"
else
    skipped+=("kubectl kustomize")
fi
if have kubernetes-validate; then
    kubernetes-validate --strict --quiet -k 1.31 ${rendered:+"$rendered"} \
        kubernetes/[!k]*.yaml
else
    skipped+=("kubernetes-validate (pip install kubernetes-validate)")
fi
if have hadolint; then hadolint docker/Dockerfile; else skipped+=("hadolint"); fi
if docker compose version >/dev/null 2>&1; then
    docker compose -f docker/compose.yml config --quiet
elif have docker-compose; then
    # Version 1 does not know the project's name.
    sed '/^name:/d' docker/compose.yml \
        | docker-compose --project-directory docker -f - config --quiet
else
    skipped+=("docker compose config")
fi

for name in "${skipped[@]}"; do echo "skipped: $name is not here"; done
echo "deploy files: all right"
