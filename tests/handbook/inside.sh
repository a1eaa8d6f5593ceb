#!/usr/bin/env bash
# What run.sh starts in the new namespaces, as their first process: gives them file systems of their
# own, and runs the blocks.
#   inside.sh STAGE PYTHON [BLOCK…]
set -euo pipefail
stage=$1 python=$2
shift 2

ip link set lo up
# A copy that can be written: users, units, resolv.conf and hosts of this installation.
cp -a /etc "$stage/etc"
mount --bind "$stage/etc" /etc
mount --bind "$stage" /srv
# The cluster, the service's data, its log, its programs, its temporary files.
for place in /var/lib /var/log /opt /run /tmp; do mount -t tmpfs tmpfs "$place"; done
# Some system has this as a link to a file that is no longer here.
rm -f /etc/resolv.conf
mkdir -p /run/postgresql /srv/home
export HOME=/srv/home PYTHONDONTWRITEBYTECODE=1
cd /srv/home
"$python" /srv/handbook/test_handbook.py "$@"
