#!/usr/bin/env bash
# Any command of newapi with the settings of the service, and as its user: doctor, audit, user, task …
#   /opt/newapi/scripts/newapi.sh doctor
# The binary itself knows the settings of the shell that it is called from alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

need_root
as_service "$@"
