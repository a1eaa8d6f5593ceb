#!/usr/bin/env bash
# Runs install, backup, upgrade and rollback below a directory of its own, with stand-ins for the
# binary: what they do with files and databases, without a service. With TEST_PG_DSN set
# (`cargo xtask pg`, `cargo xtask test`) the backup of PostgreSQL is restored as the handbook does it.
set -euo pipefail
scripts=$(cd "$(dirname "$0")/../scripts" && pwd)
tmp=$(mktemp -d)
database=""
end() {
    if [ -n "$database" ]; then psql -q "$TEST_PG_DSN" -c "DROP DATABASE IF EXISTS $database" || true; fi
    rm -rf "$tmp"
}
trap end EXIT
export DESTDIR="$tmp/root"
home="$DESTDIR/opt/newapi"

fail() { echo "FAILED: $*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "$3: '$1' is not '$2'"; }

for version in 1 2; do
    printf '#!/bin/sh\necho newapi %s\n' "$version" >"$tmp/v$version"
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

# SQLite: the upgrade makes a backup, and the backup is the database.
sqlite3 "$DESTDIR/var/lib/newapi/newapi.db" "CREATE TABLE t(n); INSERT INTO t VALUES (42);"
"$home/scripts/upgrade.sh" "$tmp/v2" >/dev/null
same "$("$home/newapi")" "newapi 2" "the new binary"
same "$("$home/new-api.backup")" "newapi 1" "the old binary is kept"
same "$(gunzip -c "$home/backups/latest.sql.gz" | sqlite3 "$tmp/restored.db" && sqlite3 "$tmp/restored.db" 'SELECT n FROM t')" 42 "restored"
same "$(stat -L -c %a "$home/backups/latest.sql.gz")" 600 "mode of the backup"

"$home/scripts/rollback.sh" >/dev/null
same "$("$home/new-api")" "newapi 1" "the old binary is back"
# As the handbook does it: through the link.
printf '#!/bin/sh\necho newapi 0\n' >"$home/new-api.backup"
cp "$home/new-api.backup" "$home/new-api"
same "$("$home/newapi")" "newapi 0" "the handbook's way back"

for _ in 1 2 3; do KEEP=2 "$home/scripts/backup.sh" >/dev/null; done
same "$(find "$home/backups" -name 'newapi-*.sql.gz' | wc -l)" 2 "KEEP"
gunzip -t "$home/backups/latest.sql.gz" || fail "latest leads nowhere"
if SQL_DSN=postgres://nobody@127.0.0.1:1/x "$home/scripts/backup.sh" >/dev/null 2>&1; then
    fail "a backup that failed says that it did not"
fi
same "$(find "$home/backups" -mindepth 1 | wc -l)" 3 "a failed backup leaves nothing behind"

# The password leaves the address, decoded.
split=$(# shellcheck disable=SC2030
    . "$scripts/common.sh"; split_password 'postgres://ann:p%40ss:w@db.example:5432/x?a=b@c'
    printf '%s %s' "$ADDRESS" "$PGPASSWORD")
same "$split" 'postgres://ann@db.example:5432/x?a=b@c p@ss:w' "split_password"
split=$(# shellcheck disable=SC2030
    . "$scripts/common.sh"; split_password 'postgresql://ann@db/x'; printf '%s' "$ADDRESS")
same "$split" 'postgresql://ann@db/x' "split_password without one"

if [ -n "${TEST_PG_DSN:-}" ]; then
    database="deploy_scripts_$$"
    psql -q "$TEST_PG_DSN" -c "CREATE DATABASE $database"
    rest=${TEST_PG_DSN#*://}
    tail=${rest#*/}
    query=""
    if [ "$tail" != "${tail#*\?}" ]; then query="?${tail#*\?}"; fi
    dsn="${TEST_PG_DSN%%://*}://${rest%%/*}/$database$query"
    schema=$scripts/../../crates/store/migrations/postgres
    for file in "$schema"/*.sql; do psql -q -v ON_ERROR_STOP=1 "$dsn" -f "$file" >/dev/null; done
    psql -q "$dsn" -c "INSERT INTO group_ratio (group_name, ratio) VALUES ('vip', 0.5)"
    # shellcheck disable=SC2031
    # Quoted, as systemd allows it in its file.
    printf 'SQL_DSN="%s"\n' "$dsn" >>"$DESTDIR/etc/newapi/newapi.env"
    "$home/scripts/backup.sh" >/dev/null
    psql -q "$dsn" -c "UPDATE group_ratio SET ratio = 9"
    said=$(gunzip -c "$home/backups/latest.sql.gz" | psql -q "$dsn" 2>&1 >/dev/null)
    same "$said" "" "restoring over what is there"
    same "$(psql -qAt "$dsn" -c "SELECT ratio = 0.5 FROM group_ratio WHERE group_name = 'vip'")" t "restored"
    psql -q "$dsn" -c "UPDATE group_ratio SET ratio = 9"
    { gunzip -c "$home/backups/latest.sql.gz" | head -n -3; echo "SELECT broken;"; echo "COMMIT;"; } \
        | psql -q "$dsn" >/dev/null 2>&1 || true
    same "$(psql -qAt "$dsn" -c "SELECT ratio = 9 FROM group_ratio WHERE group_name = 'vip'")" t "nothing of a broken backup"
    echo "scripts: install, backup (SQLite, PostgreSQL), restore, upgrade and rollback work"
else
    echo "scripts: install, backup (SQLite), restore, upgrade and rollback work; PostgreSQL: no TEST_PG_DSN"
fi
