#!/usr/bin/env bash
# Puts a new binary in place: backup of the database, old binary kept as new-api.backup, restart.
# If the new one does not answer, the old one comes back by itself.
#   deploy/scripts/upgrade.sh NEW_BINARY               from a release's tree: its unit and scripts, too
#   /opt/newapi/scripts/upgrade.sh NEW_BINARY          the binary alone
# SKIP_BACKUP=1 leaves out the database's backup.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

binary=${1:?usage: upgrade.sh BINARY}
[ -x "$binary" ] || die "$binary is not a program"
need_root
[ -x "$HOME_DIR/newapi" ] || die "$HOME_DIR/newapi is not there: use install.sh"
version=$("$binary" --version) || die "$binary does not run on this machine"

# A newer binary brings the schema up to date, and an older one refuses a newer schema: going back
# over a migration takes this backup.
if [ -z "${SKIP_BACKUP:-}" ]; then "$here/backup.sh"; fi

# The same binary once more is no reason to forget the one before.
if ! cmp -s "$binary" "$HOME_DIR/newapi"; then
    place "$HOME_DIR/newapi" "$HOME_DIR/new-api.backup" 0755
fi
# While the old one still serves: it keeps the file that it was started from.
place "$binary" "$HOME_DIR/newapi" 0755
ln -sfn newapi "$HOME_DIR/new-api"
place_files "$here"

if live; then
    # Calls under way are finished and settled by the old one first.
    if ! systemctl restart newapi.service || ! wait_healthy; then
        say "the new version does not answer; going back" >&2
        "$here/rollback.sh"
        exit 1
    fi
fi
say "now $version; back with rollback.sh"
