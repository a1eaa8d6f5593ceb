"""Bytes that a paid call leaves in the database for good: lines, indexes and sums included."""

import sqlite3
import subprocess
import time

from targets import BEFORE, FIXED, Newapi, make_database

CALLS_SECONDS = 8
# Everything that grows with calls. What is not there in a build counts nothing.
TABLES = ("logs", "holds", "logs_by_hour", "logs_by_day", "log_blocks", "usage_hourly",
          "user_log_lines", "price_snapshots")
SETTLED = "SELECT count(*) FROM logs WHERE type = 'consume'"


def sql(dsn, text):
    shown = subprocess.run(["psql", "-XAtc", text, dsn], capture_output=True, text=True, check=True)
    return int(shown.stdout.strip() or 0)


def of_postgres(dsn):
    """Total size of the tables with their partitions and indexes, after a full vacuum."""
    subprocess.run(["psql", "-Xqc", "VACUUM FULL", dsn], check=True, capture_output=True)
    names = "|".join(TABLES)
    size = sql(dsn, f"""SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
        WHERE relkind = 'r' AND relname ~ '^({names})(_[0-9]{{6}}|_default)?$'""")
    return size, sql(dsn, SETTLED)


def of_sqlite(file):
    connection = sqlite3.connect(file)
    calls = connection.execute(SETTLED).fetchone()[0]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("VACUUM")
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    size = pages * connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    return size, calls


def kept(bench):
    """Many calls of a thousand accounts, then what the database weighs by call."""
    bench.title("Bytes kept by a paid call, indexes and sums included")
    rows = []
    for database in bench.databases:
        builds = [("now", {})] + ([("before", {"binary": BEFORE})] if BEFORE else [])
        for build, settings in builds:
            name = f"{database}-kept-{build}"
            dsn = make_database("bench_" + name.replace("-", "_")) if database == "postgres" else None
            server = bench.keep(Newapi(name, bench.out, bench.stub, dsn, **settings))
            server.set_up(bench.size["accounts"])
            empty = of_postgres(dsn)[0] if dsn else (server.data / "newapi.db").stat().st_size
            server.load(FIXED, bench.size["accounts"]).run(64, CALLS_SECONDS)
            time.sleep(45)  # the sums follow
            bench.end(server)
            size, calls = of_postgres(dsn) if dsn else of_sqlite(server.data / "newapi.db")
            rows.append((f"{database}, {build}", f"{calls}", f"{(size - empty) / calls:.0f}"))
    bench.table(("database", "calls", "bytes a call"), rows)
