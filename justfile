# Shorthands. Everything here is also one plain command: see CONTRIBUTING.md.

# List the recipes
default:
    @just --list

# Check and test everything, on SQLite and on a private PostgreSQL
test:
    cargo xtask test

# The same without the fuzz targets and cargo-deny
fast:
    cargo xtask test --fast

# Run the tests of one name, with PostgreSQL up
only NAME:
    cargo xtask test --filter {{NAME}}

# Show the main job: server, scripted upstream, paid calls, each explained
demo:
    cargo run -- demo

# Build what is shipped: target/release/newapi
release:
    cargo build --release --features jemalloc

# Compare with nginx and a bare proxy on this machine
bench:
    bench/run.sh

# Run each fuzz target for SECONDS
fuzz SECONDS="60":
    fuzz/run.sh {{SECONDS}}

# Dependency edges, sizes, and who may touch money, time, files and the environment
tidy:
    cargo xtask tidy

# Format everything
fmt:
    cargo fmt --all

# What clippy says, as strictly as the build server asks
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# psql on a private, empty cluster
psql:
    cargo xtask pg -- psql
