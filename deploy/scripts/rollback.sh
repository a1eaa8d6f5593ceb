#!/usr/bin/env bash
# Back to the binary before the last upgrade (new-api.backup). Where that refuses to serve because
# the newer one has changed the schema, the backup that upgrade.sh made has to be restored as well.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

need_root
[ -x "$HOME_DIR/new-api.backup" ] || die "there is no $HOME_DIR/new-api.backup"

if live; then systemctl stop newapi.service; fi
place "$HOME_DIR/new-api.backup" "$HOME_DIR/newapi" 0755
ln -sfn newapi "$HOME_DIR/new-api"
if live; then
    # After failures in a row systemd would refuse a further start.
    systemctl reset-failed newapi.service 2>/dev/null || true
    if ! systemctl start newapi.service || ! wait_healthy; then
        die "the old version does not answer either: journalctl -u newapi. If it says that the schema \
is newer, restore.sh the newest backup in $BACKUPS"
    fi
fi
say "back to $("$HOME_DIR/newapi" --version)"
