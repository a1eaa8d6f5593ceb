#!/usr/bin/env bash
# A consistent copy of the database, while the server runs, as plain SQL:
#   /opt/newapi/backups/newapi-DATE.sql.gz, and latest.sql.gz, a link to it
# Restored, with the service stopped, by
#   gunzip -c latest.sql.gz | psql -U newapi -d newapi            PostgreSQL
#   gunzip -c latest.sql.gz | sqlite3 /var/lib/newapi/newapi.db   SQLite, the old file moved away
# SECRET_KEY (or /var/lib/newapi/secret.key) is not in it: keep that elsewhere, or the channels' keys
# in the backup can't be read. KEEP (14) is how many are kept.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

umask 077
mkdir -p "$BACKUPS"
name="newapi-$(date -u +%Y%m%dT%H%M%S)-$$.sql.gz"
draft="$BACKUPS/.$name.part"
copy=""
trap 'rm -f "$draft" ${copy:+"$copy" "$copy.list"}' EXIT

dsn=$(setting SQL_DSN)
case $dsn in
    postgres://* | postgresql://*)
        command -v pg_dump >/dev/null || die "pg_dump is not here (Debian: postgresql-client)"
        split_password "$dsn"
        copy=$(mktemp "$BACKUPS/.copy.XXXXXX")
        pg_dump --format=custom --compress=1 --dbname="$ADDRESS" --file="$copy"
        # Extensions (pg_stat_statements) belong to an administrator, whoever restores: they stay as
        # they are.
        pg_restore --list "$copy" | grep -v ' EXTENSION ' >"$copy.list"
        # With it the backup can be read into a database that has the tables already.
        {
            cat "$here/clear.sql"
            pg_restore --no-owner --no-privileges --use-list="$copy.list" --file=- "$copy"
            echo "COMMIT;"
        } | gzip -6 >"$draft"
        ;;
    "" | local)
        [ -e "$DATA_DIR/newapi.db" ] || die "there is no $DATA_DIR/newapi.db"
        command -v sqlite3 >/dev/null || die "sqlite3 is not here (Debian: sqlite3)"
        copy=$(mktemp "$BACKUPS/.copy.XXXXXX")
        # The copy is what stops nobody: a dump of the file itself would hold writers up.
        sqlite3 -cmd ".timeout 10000" "$DATA_DIR/newapi.db" ".backup '$copy'"
        sqlite3 "$copy" .dump | gzip -6 >"$draft"
        ;;
    *) die "SQL_DSN is neither postgres://… nor local" ;;
esac

gzip -t "$draft"
mv "$draft" "$BACKUPS/$name"
ln -sfn "$name" "$BACKUPS/latest.sql.gz"
# The newest KEEP of them stay.
find "$BACKUPS" -maxdepth 1 -name 'newapi-*.sql.gz' -printf '%f\n' | sort -r \
    | tail -n +"$((${KEEP:-14} + 1))" | while read -r old; do rm -f "$BACKUPS/$old"; done
say "$BACKUPS/$name"
