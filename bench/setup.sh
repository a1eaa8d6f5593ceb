#!/usr/bin/env bash
# Installs what bench/run.sh needs (Debian, Ubuntu). `cargo xtask pg` installs PostgreSQL itself.
set -eu
sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
$sudo apt-get update -q
$sudo apt-get install -y -q wrk nginx-light libjemalloc-dev python3 procps \
    postgresql-client valgrind
