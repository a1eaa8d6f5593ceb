#!/usr/bin/env bash
# Runs install, newapi.sh, backup, upgrade, rollback and restore below a directory of its own, with stand-ins
# for the binary: what they do with files and settings, without a service: tests/handbook has one,
# and a real binary.
set -euo pipefail
scripts=$(cd "$(dirname "$0")/../scripts" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export DESTDIR="$tmp/root"
home="$DESTDIR/opt/newapi"

fail() { echo "FAILED: $*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "$3: '$1' is not '$2'"; }

# Tells its version, or what it was asked to do, with which settings.
for version in 1 2; do
    # shellcheck disable=SC2016
    printf '#!/bin/sh\n[ $# -gt 1 ] || exec echo newapi %s\nexec echo "$@" "$DATA_DIR" "$SQL_DSN"\n' \
        "$version" >"$tmp/v$version"
    chmod +x "$tmp/v$version"
done

"$scripts/install.sh" "$tmp/v1" >/dev/null
same "$("$home/new-api")" "newapi 1" "the link leads to the binary"
for file in etc/newapi/newapi.env etc/systemd/system/newapi.service etc/logrotate.d/newapi \
    var/log/newapi.log opt/newapi/scripts/upgrade.sh; do
    [ -f "$DESTDIR/$file" ] || fail "$file is not there"
done
same "$(stat -c %a "$DESTDIR/etc/newapi/newapi.env")" 600 "mode of the settings"
same "$(stat -c %a "$DESTDIR/var/lib/newapi")" 700 "mode of the data"
if "$scripts/install.sh" "$tmp/v1" >/dev/null 2>&1; then fail "installed twice"; fi

# Quoted, as systemd allows it in its file.
printf '# a comment\nSQL_DSN="postgres://ann:p@db/x?a=b"\n' >>"$DESTDIR/etc/newapi/newapi.env"
data="$DESTDIR/var/lib/newapi"
said=$("$home/scripts/upgrade.sh" "$tmp/v2")
same "$(head -n 1 <<<"$said")" "backup $home/backups --keep 14 $data postgres://ann:p@db/x?a=b" "the backup"
same "$("$home/newapi")" "newapi 2" "the new binary"
same "$("$home/new-api.backup")" "newapi 1" "the old binary is kept"
same "$(stat -c %a "$home/backups")" 700 "mode of the backups"
same "$(KEEP=2 DATA_DIR=/x SQL_DSN=y "$home/scripts/backup.sh")" "backup $home/backups --keep 2 /x y" "its own settings"
same "$("$home/scripts/newapi.sh" doctor --json)" "doctor --json $data postgres://ann:p@db/x?a=b" "any command"
same "$("$home/scripts/restore.sh" one.gz)" "restore --replace one.gz $data postgres://ann:p@db/x?a=b" "restore"

# From the tree of a release: what an upgrade alone knows of comes along, settings stay.
unit="$DESTDIR/etc/systemd/system/newapi.service"
echo old >"$unit"
rm "$home/scripts/newapi.sh"
"$home/scripts/upgrade.sh" "$tmp/v2" >/dev/null
same "$(cat "$unit")" "old" "the installed script has no unit to place"
same "$("$home/new-api.backup")" "newapi 1" "the old binary is kept at a second upgrade"
"$scripts/upgrade.sh" "$tmp/v2" >/dev/null
cmp "$unit" "$scripts/../systemd/newapi.service"
[ -x "$home/scripts/newapi.sh" ] || fail "a new script is not there"
grep -q '^SQL_DSN=' "$DESTDIR/etc/newapi/newapi.env" || fail "settings are lost"

"$home/scripts/rollback.sh" >/dev/null
same "$("$home/new-api")" "newapi 1" "the old binary is back"
# As the handbook does it: through the link.
printf '#!/bin/sh\necho newapi 0\n' >"$home/new-api.backup"
cp "$home/new-api.backup" "$home/new-api"
same "$("$home/newapi")" "newapi 0" "the handbook's way back"

printf '#!/bin/sh\nexit 1\n' >"$home/newapi"
if "$home/scripts/upgrade.sh" "$tmp/v2" >/dev/null 2>&1; then fail "upgraded without a backup"; fi
if "$home/scripts/restore.sh" one.gz >/dev/null 2>&1; then fail "a restore that failed says that it did not"; fi
echo "scripts: install, backup, upgrade, rollback and restore work"
