# shellcheck shell=bash
# What the scripts share. DESTDIR goes before every path and leaves the system's services, users and
# owners alone: for packages and for tests.

DESTDIR="${DESTDIR:-}"
PREFIX="${PREFIX:-/opt/newapi}"
HOME_DIR="$DESTDIR$PREFIX"
ENV_FILE="$DESTDIR/etc/newapi/newapi.env"
LOG="$DESTDIR/var/log/newapi.log"
# shellcheck disable=SC2034
BACKUPS="$HOME_DIR/backups"

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Whether this is the real system, with its services.
live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

need_root() {
    if [ -z "$DESTDIR" ] && [ "$(id -u)" -ne 0 ]; then die "run it as root"; fi
}

# Takes a file's place in one step, so that nobody ever finds half of it.
place() {
    local from=$1 to=$2 mode=$3
    install -m "$mode" "$from" "$to.new"
    mv -f "$to.new" "$to"
}

# Scripts, unit and logrotate, from the tree of a release. Run from where they are installed there is
# nothing to place. What an operator has changed is elsewhere: settings, `systemctl edit newapi`.
place_files() {
    local from=$1
    if [ "$from" -ef "$HOME_DIR/scripts" ]; then return; fi
    local script
    for script in common.sh newapi.sh upgrade.sh rollback.sh backup.sh restore.sh; do
        place "$from/$script" "$HOME_DIR/scripts/$script" 0755
    done
    place "$from/../systemd/newapi.service" "$DESTDIR/etc/systemd/system/newapi.service" 0644
    place "$from/../logrotate/newapi" "$DESTDIR/etc/logrotate.d/newapi" 0644
    if live; then systemctl daemon-reload; fi
}

# One setting: from the environment, else from the service's file.
setting() {
    local name=$1 line=""
    if [ -n "${!name:-}" ]; then
        printf '%s' "${!name}"
        return
    fi
    if [ -r "$ENV_FILE" ]; then
        line=$(grep -E "^$name=" "$ENV_FILE" | tail -n 1 || true)
        line=${line#*=}
        case $line in
            \"*\") line=${line#\"}; line=${line%\"} ;;
            \'*\') line=${line#\'}; line=${line%\'} ;;
        esac
    fi
    printf '%s' "$line"
}

# As the unit gives them, unless its file says otherwise.
DATA_DIR=$(setting DATA_DIR)
DATA_DIR="${DATA_DIR:-$DESTDIR/var/lib/newapi}"
LOG_FILE=$(setting LOG_FILE)
LOG_FILE="${LOG_FILE:-$LOG}"

# Runs the binary with the settings of the service.
with_settings() (
    umask 077
    export DATA_DIR LOG_FILE
    if [ -r "$ENV_FILE" ]; then
        while IFS='=' read -r name _; do
            export "$name=$(setting "$name")"
        done < <(grep -E '^[A-Z_]+=' "$ENV_FILE")
    fi
    exec "$@"
)

# As root, who may read and write backups.
as_root() { with_settings "$HOME_DIR/newapi" "$@"; }

# As the service's user, to whom everything belongs that it makes.
as_service() {
    if [ -n "$DESTDIR" ]; then as_root "$@"; return; fi
    with_settings setpriv --reuid=newapi --regid=newapi --init-groups "$HOME_DIR/newapi" "$@"
}

# Waits until the service answers, as its own health command sees it.
wait_healthy() {
    local port
    port=$(setting PORT)
    local tries=${HEALTH_TRIES:-30}
    while [ "$tries" -gt 0 ]; do
        if PORT="${port:-3000}" "$HOME_DIR/newapi" health >/dev/null 2>&1; then return 0; fi
        tries=$((tries - 1))
        sleep 1
    done
    return 1
}
