#!/usr/bin/env bash
# Puts newapi on this machine as a service. Settings and data that are there already stay.
#   deploy/scripts/install.sh target/release/newapi
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

binary=${1:?usage: install.sh BINARY}
[ -x "$binary" ] || die "$binary is not a program"
need_root
[ ! -e "$HOME_DIR/newapi" ] || die "$HOME_DIR/newapi is there already: use upgrade.sh"
"$binary" --version >/dev/null || die "$binary does not run on this machine"

if [ -z "$DESTDIR" ] && ! id newapi >/dev/null 2>&1; then
    useradd --system --user-group --no-create-home --home-dir /var/lib/newapi \
        --shell /usr/sbin/nologin newapi
fi

install -d -m 0755 "$HOME_DIR" "$HOME_DIR/scripts" "$DESTDIR/var/log"
install -d -m 0700 "$DATA_DIR" "$BACKUPS"
install -d -m 0750 "$(dirname "$ENV_FILE")"
install -d -m 0755 "$DESTDIR/etc/systemd/system" "$DESTDIR/etc/logrotate.d"

place "$binary" "$HOME_DIR/newapi" 0755
# The name that the handbook uses.
ln -sfn newapi "$HOME_DIR/new-api"
place_files "$here"
# What the operator has written stays.
[ -e "$ENV_FILE" ] || place "$here/../systemd/newapi.env" "$ENV_FILE" 0600
[ -e "$LOG" ] || install -m 0640 /dev/null "$LOG"

if [ -z "$DESTDIR" ]; then
    chown newapi:newapi "$LOG" "$DATA_DIR"
    # The service may read what stands beside its settings (CUSTOM_PASS_CONFIG_FILE), and no one else.
    chown root:newapi "$(dirname "$ENV_FILE")"
fi
if live; then systemctl enable newapi.service; fi
say "installed in $HOME_DIR. Next: settings in $ENV_FILE, then systemctl start newapi"
say "Then $HOME_DIR/scripts/newapi.sh doctor says whether all is well"
say "The first start prints root's password and token once: journalctl -u newapi"
