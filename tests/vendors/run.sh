#!/usr/bin/env bash
# Calls a real server with the packages of four vendors, as applications would.
exec "$(dirname "${BASH_SOURCE[0]}")/../python-client.sh" vendors
