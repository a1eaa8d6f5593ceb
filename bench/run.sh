#!/usr/bin/env bash
# bench/run.sh [smoke|quick|full] [--only PART]... [--database sqlite|postgres]...
# Builds what is compared, starts a private PostgreSQL, measures, and prints Markdown tables.
# NEWAPI_BIN=path measures that binary instead of building one; NEWAPI_BEFORE=path measures another build
# in the same rounds.
set -eu
cd "$(dirname "$0")"
for program in wrk nginx python3 psql; do
  command -v "$program" > /dev/null || { echo "bench: no $program: run bench/setup.sh" >&2; exit 1; }
done
cargo build --quiet --release
if [ -z "${NEWAPI_BIN-}" ]; then
  # The system's jemalloc saves the minutes that building one takes.
  for library in /usr/lib/*-linux-gnu/libjemalloc_pic.a; do
    [ -e "$library" ] && export JEMALLOC_OVERRIDE=$library
  done
  (cd .. && cargo build --quiet --release -p gateway --features jemalloc)
fi
ulimit -n "$(ulimit -Hn)"
# Ahead of what else runs on the machine, where that is allowed.
first=(); [ "$(id -u)" = 0 ] && first=(nice -n -10)
cd .. && exec "${first[@]}" cargo xtask pg -- python3 bench/bench.py "$@"
