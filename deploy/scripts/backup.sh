#!/usr/bin/env bash
# `newapi backup` with the settings of the service, for cron: /opt/newapi/backups/newapi-TIME, and
# the link latest.sql.gz (SQLite: latest.db.gz) to it. KEEP (14) is how many are kept.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

need_root
install -d -m 0700 "$BACKUPS"
as_root backup "$BACKUPS" --keep "${KEEP:-14}"
