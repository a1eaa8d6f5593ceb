# Shorthands. Everything here is also one plain command: see CONTRIBUTING.md.

# List the recipes
default:
    @just --list

# Check and test everything, on SQLite and on a private PostgreSQL
test:
    cargo xtask test

# The same without the fuzz targets, cargo-deny, the deploy files and the handbook
fast:
    cargo xtask test --fast

# Run the tests of one name, with PostgreSQL up
only NAME:
    cargo xtask test --filter {{NAME}}

# Run the tests of one crate, with PostgreSQL up
crate NAME:
    cargo xtask test --crate {{NAME}}

# Serve on port 3000, SQLite in ./data
run:
    cargo run -- serve

# Read the documentation of every item, private ones too
doc:
    cargo doc --workspace --no-deps --document-private-items --open

# Make the next step of the schema, for both engines
migration NAME:
    cargo xtask migration {{NAME}}

# Which lines the tests reach (needs cargo-llvm-cov)
coverage:
    cargo xtask pg -- cargo llvm-cov --workspace --html

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
