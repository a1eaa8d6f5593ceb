#!/usr/bin/env bash
# Calls a real server with the openai Python package, as an application would.
exec "$(dirname "${BASH_SOURCE[0]}")/../python-client.sh" openai
