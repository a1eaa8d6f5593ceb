#!/bin/sh
# Builds and runs each fuzz target for so many seconds; fails on any finding.
# Stable Rust and a C++ compiler are enough.
#   fuzz/run.sh [SECONDS] [TARGET...]
set -eu
cd "$(dirname "$0")"
seconds=${1:-30}
[ $# -gt 0 ] && shift
targets=${*:-envelope_reader path_rule param_override task_reply \
    protocol_reply protocol_document}

# What cargo-fuzz passes, without the sanitizer, which needs a nightly compiler.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
flags="$flags -Clink-dead-code -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target the flags are for the targets alone, not for build scripts and macros.
RUSTFLAGS="$flags" cargo build --release --target "$host" --target-dir target --bins

# One target, its findings at the end.
fuzz_one='target=$1
mkdir -p "corpus/$target" "artifacts/$target"
failed=0
"target/$3/release/$target" "corpus/$target" "seeds/$target" \
    -max_total_time="$2" -max_len=8192 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 -artifact_prefix="artifacts/$target/" -dict=json.dict \
    >"artifacts/$target.log" 2>&1 || failed=1
found=$(grep -E "stat::number_of_executed_units|ERROR|SUMMARY|panicked|Test unit written" \
    "artifacts/$target.log" || true)
printf "== %s: %s s\n%s\n" "$target" "$2" "$found"
[ "$failed" = 0 ] || { tail -n 30 "artifacts/$target.log"; exit 1; }'

# As many at a time as there are processors: each uses one.
printf '%s\n' $targets |
    xargs -P "$(nproc)" -I '{}' sh -eu -c "$fuzz_one" fuzz '{}' "$seconds" "$host"
