"""A long journal: what the pages and sums of the admin API take over ten million lines."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from statistics import median

from harness import HERE, say
from targets import ROOT_TOKEN, Newapi, make_database

SIZES = {  # lines, users, requests a query, and the seconds after which a query is left alone
    "smoke": dict(lines=1_000_000, users=1_000, requests=10, within=1),
    "quick": dict(lines=10_000_000, users=5_000, requests=40, within=3),
    "full": dict(lines=10_000_000, users=5_000, requests=200, within=20),
}
GOAL_MS = 100
DAY = 86_400


def psql(dsn, *arguments):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", dsn, *arguments], check=True,
                          capture_output=True, text=True)
    return done.stdout.strip()


def fill(dsn, size):
    """Fills the database, unless that was done before (BENCH_JOURNAL_DSN)."""
    if int(psql(dsn, "-c", "SELECT count(*) FROM (SELECT 1 FROM logs LIMIT 50000) AS found")) < 50_000:
        say(f"  filling in {size['lines']:,} lines")
        psql(dsn, "-v", f"lines={size['lines']}", "-v", f"users={size['users']}",
             "-f", str(HERE / "journal.sql"))


def ask(server, path):
    """One request: its status, and the milliseconds until its whole answer was there."""
    request = urllib.request.Request(server.base + path,
                                     headers={"Authorization": f"Bearer {ROOT_TOKEN}"})
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    return status, (time.perf_counter() - began) * 1000, body


def queries(server, dsn):
    """What is asked: name and address."""
    user, name, token, request, line = psql(dsn, "-F", " ", "-c", """
        SELECT user_id, username, token_id, request_id, id FROM logs
        WHERE type = 'consume' AND id > (SELECT max(id) FROM logs) / 2 ORDER BY id LIMIT 1""").split()
    now = int(time.time())
    return [
        ("first page", "/api/log"),
        ("page 100 of 100 lines", "/api/log?p=100&page_size=100"),
        ("page 100 000: refused, with the way on", "/api/log?p=100000"),
        ("`before_id` in the middle", f"/api/log?before_id={line}"),
        ("user", f"/api/log?user_id={user}"),
        ("user, page 10", f"/api/log?user_id={user}&p=10"),
        ("user name", f"/api/log?username={name}"),
        ("key", f"/api/log?token_id={token}"),
        ("request", f"/api/log?request_id={request}"),
        ("channel", "/api/log?channel_id=3"),
        ("channel used 20 times", "/api/log?channel_id=999"),
        ("model", "/api/log?model=model-7"),
        ("model used 500 times", "/api/log?model=seldom"),
        ("model used 10 times", "/api/log?model=rare"),
        ("type consume", "/api/log?type=consume"),
        ("type refund", "/api/log?type=refund"),
        ("type manage, 100 lines", "/api/log?type=manage"),
        ("type topup", "/api/log?type=topup"),
        ("type system, no line", "/api/log?type=system"),
        ("an hour", f"/api/log?start_time={now - 30 * DAY}&end_time={now - 30 * DAY + 3600}"),
        ("user, model, type, 30 days",
         f"/api/log?user_id={user}&model=model-1&type=consume&start_time={now - 30 * DAY}"),
        ("channel, model, type", "/api/log?channel_id=2&model=model-3&type=refund"),
        ("sums of a day", "/api/log/stat"),
        ("sums of 31 days", f"/api/log/stat?start_time={now - 31 * DAY + 60}"),
        ("sums of 31 days, user", f"/api/log/stat?user_id={user}&start_time={now - 31 * DAY + 60}"),
        ("statement of a month", f"/api/statement?user_id={user}"),
        ("users", "/api/user?page_size=100"),
        ("users, page 50", "/api/user?page_size=100&p=50"),
    ]


def journal(bench):
    size = SIZES[bench.name]
    dsn = os.environ.get("BENCH_JOURNAL_DSN") or make_database("bench_journal")
    server = bench.keep(Newapi("postgres-journal", bench.out, bench.stub, dsn))
    fill(dsn, size)
    rows = []
    for name, path in queries(server, dsn):
        times, status, began = [], 0, time.monotonic()
        ask(server, path)
        while len(times) < size["requests"] and time.monotonic() - began < size["within"]:
            status, ms, _ = ask(server, path)
            times.append(ms)
        times.sort()
        p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
        rows.append((name, status, len(times), f"{median(times):.1f} ms", f"{p99:.1f} ms"))
        say(f"  {rows[-1]}")
        bench.goal(f"{name}: median ≤ {GOAL_MS} ms", median(times) <= GOAL_MS,
                   f"{median(times):.1f} ms")
    lines = int(psql(dsn, "-c", "SELECT max(id) FROM logs"))
    bench.title(f"A journal of {lines:,} lines over three months, PostgreSQL")
    bench.table(("query", "status", "requests", "median", "p99"), rows)
    bench.end(server)
