#!/usr/bin/env bash
# Has schemathesis try every call of the OpenAPI document on a real server.
exec "$(dirname "${BASH_SOURCE[0]}")/../python-client.sh" schemathesis
