#!/usr/bin/env bash
# `newapi restore` with the settings of the service, which is stopped for it. What was in the
# database is kept as a backup in DATA_DIR/backups.
#   /opt/newapi/scripts/restore.sh FILE
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

file=${1:?usage: restore.sh FILE}
need_root
if live; then systemctl stop newapi.service; fi
as_root restore --replace "$file" \
    || die "the service stays stopped until you start it: systemctl start newapi"
# What root has made in it is the service's.
if [ -z "$DESTDIR" ]; then chown -R newapi:newapi "$DATA_DIR"; fi
if live; then
    systemctl start newapi.service
    wait_healthy || die "the service does not answer: journalctl -u newapi"
fi
