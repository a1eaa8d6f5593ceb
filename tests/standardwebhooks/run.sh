#!/usr/bin/env bash
# Checks a delivered webhook with the standardwebhooks Python package, as a receiver would.
exec "$(dirname "${BASH_SOURCE[0]}")/../python-client.sh" standardwebhooks
