"""A long journal: what pages and sums, of the API and the console, take over ten million lines."""

import os
import subprocess
import time
import urllib.error
import urllib.request
from datetime import date, datetime, timedelta, timezone
from statistics import median
from urllib.parse import urlencode

from harness import HERE, say, wait_until
from targets import ROOT_TOKEN, Newapi, make_database

SIZES = {  # lines, users, open holds, requests a query, and the seconds after which a query is left alone
    "smoke": dict(lines=1_000_000, users=1_000, holds=100_000, requests=15, within=1),
    "quick": dict(lines=10_000_000, users=5_000, holds=100_000, requests=40, within=3),
    "full": dict(lines=10_000_000, users=5_000, holds=100_000, requests=200, within=20),
}
GOAL_MS = 60
CONSOLE_GOAL_MS = 150
ROOT_PASSWORD = "bench-root-password"
DAY = 86_400
# How long the background may take to add up a journal that was filled at once.
ADDED_UP_SECONDS = 3_600


def psql(dsn, *arguments):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", dsn, *arguments], check=True,
                          capture_output=True, text=True)
    return done.stdout.strip()


def fill(dsn, size):
    """Fills the database, unless that was done before (BENCH_JOURNAL_DSN)."""
    if int(psql(dsn, "-c", "SELECT count(*) FROM (SELECT 1 FROM logs LIMIT 50000) AS found")) < 50_000:
        say(f"  filling in {size['lines']:,} lines")
        psql(dsn, "-v", f"lines={size['lines']}", "-v", f"users={size['users']}",
             "-v", f"holds={size['holds']}", "-f", str(HERE / "journal.sql"))


def added_up(dsn):
    """Whether the background has come to the end of what was filled in."""
    return psql(dsn, "-c", "SELECT through + 50000 > (SELECT max(id) FROM logs) FROM rollup_cursor") \
        == "t"


def ask(server, path, who):
    """One request: its status, and the milliseconds until its whole answer was there."""
    request = urllib.request.Request(server.base + path, headers=who)
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status = answer.status
            answer.read()
    except urllib.error.HTTPError as error:
        status = error.code
        error.read()
    return status, (time.perf_counter() - began) * 1000


def by_token(token):
    return {"Authorization": f"Bearer {token}"}


def queries(dsn):
    """What is asked: name, and address."""
    user, name, token, key, request, line = psql(dsn, "-F", " ", "-c", """
        SELECT l.user_id, username, token_id, t.name, request_id, l.id
        FROM logs l JOIN tokens t ON t.id = token_id
        WHERE type = 'consume' AND t.name <> 'default' AND l.id > (SELECT max(id) FROM logs) / 2
        ORDER BY l.id LIMIT 1""").split()
    busiest, their_key = psql(dsn, "-F", " ", "-c", """
        SELECT user_id, min(token_id) FROM logs_by_day
        GROUP BY user_id ORDER BY sum(lines) DESC LIMIT 1""").split()
    deleted_key = psql(dsn, "-c", "SELECT min(id) FROM deleted_tokens")
    now = int(time.time())
    month = dict(start_time=now - 31 * DAY + 600)
    quarter_ago = dict(start_time=now - 80 * DAY + 77, end_time=now - 50 * DAY + 1_234)
    until_last_week = dict(start_time=now - 38 * DAY, end_time=now - 7 * DAY)
    last_month = time.strftime("%Y-%m", time.gmtime(now - 31 * DAY))

    def to(path, **parameters):
        return f"{path}?{urlencode(parameters)}"

    pages = [
        ("first page", {}),
        ("page 100 of 100 lines", dict(p=100, page_size=100)),
        ("page 100 000: refused, with the way on", dict(p=100_000)),
        ("`before_id` in the middle", dict(before_id=line)),
        ("an hour, a month ago",
         dict(start_time=now - 30 * DAY, end_time=now - 30 * DAY + 3_600)),
        ("a month, until last week", until_last_week),
        ("until 20 days ago, page 100 of 100 lines",
         dict(end_time=now - 20 * DAY, p=100, page_size=100)),
        ("user", dict(user_id=user)),
        ("user, page 10", dict(user_id=user, p=10)),
        ("user name", dict(username=name)),
        ("no such user", dict(username="nobody")),
        ("busiest user", dict(user_id=busiest)),
        ("busiest user, page 100 of 100 lines", dict(user_id=busiest, p=100, page_size=100)),
        ("key", dict(token_id=token)),
        ("deleted key", dict(token_id=deleted_key)),
        ("no such key", dict(token_id=999_999_999)),
        ("key by its name", dict(token_name=key)),
        ("key by a name that half of them have", dict(token_name="default")),
        ("key by a name that half of them have, model used 500 times",
         dict(token_name="default", model="seldom")),
        ("request", dict(request_id=request)),
        ("no such request", dict(request_id="none")),
        ("channel", dict(channel_id=3)),
        ("channel, page 100 of 100 lines", dict(channel_id=3, p=100, page_size=100)),
        ("channel used 20 times", dict(channel_id=999)),
        ("model", dict(model="model-7")),
        ("model, page 100 of 100 lines", dict(model="model-7", p=100, page_size=100)),
        ("model, `before_id` in the middle", dict(model="model-7", before_id=line)),
        ("model used 500 times", dict(model="seldom")),
        ("model used 500 times, page 5 of 100 lines", dict(model="seldom", p=5, page_size=100)),
        ("model used 10 times", dict(model="rare")),
        ("model never used", dict(model="none")),
        ("model used 5 000 times, page 50 of 100 lines", dict(model="thin", p=50, page_size=100)),
        ("model used 5 000 times, `before_id` in the middle",
         dict(model="thin", before_id=line, page_size=100)),
        ("model used 5 000 times, until last week",
         dict(model="thin", page_size=100, **until_last_week)),
        ("model used 10 000 times, page 100 of 100 lines",
         dict(model="apart", p=100, page_size=100)),
        ("model given up 18 days ago", dict(model="retired")),
        ("model given up 18 days ago, page 100 of 100 lines",
         dict(model="retired", p=100, page_size=100)),
        ("type consume", dict(type="consume")),
        ("type refund", dict(type="refund")),
        ("type refund, page 100 of 100 lines", dict(type="refund", p=100, page_size=100)),
        ("type error", dict(type="error")),
        ("type error, model without any", dict(type="error", model="model-7")),
        ("type error, a month, until last week, page 100 of 100 lines",
         dict(type="error", p=100, page_size=100, **until_last_week)),
        ("type precharge, no line", dict(type="precharge")),
        ("type manage, 100 lines", dict(type="manage")),
        ("type topup", dict(type="topup")),
        ("type system, no line", dict(type="system")),
        ("user, model, type, 30 days",
         dict(user_id=user, model="model-1", type="consume", start_time=now - 30 * DAY)),
        ("busiest user, model used 500 times", dict(user_id=busiest, model="seldom")),
        ("busiest user, model never used", dict(user_id=busiest, model="none")),
        ("busiest user, channel used 20 times", dict(user_id=busiest, channel_id=999)),
        ("busiest user, type refund, page 50 of 100 lines",
         dict(user_id=busiest, type="refund", p=50, page_size=100)),
        ("channel, model never used there", dict(channel_id=21, model="model-0")),
        ("channel, model used 5 000 times, page 2 of 100 lines",
         dict(channel_id=3, model="thin", p=2, page_size=100)),
        ("channel, model, type", dict(channel_id=2, model="model-3", type="refund")),
    ]
    sums = [
        ("a day", {}),
        ("an hour", dict(start_time=now - 3_600)),
        ("31 days", month),
        ("30 days, a quarter ago", quarter_ago),
        ("31 days, type", dict(type="refund", **month)),
        ("31 days, model", dict(model="model-7", **month)),
        ("31 days, model used 10 times", dict(model="rare", **month)),
        ("31 days, type precharge, no line", dict(type="precharge", **month)),
        ("31 days, channel", dict(channel_id=1, **month)),
        ("31 days, channel, model, type",
         dict(channel_id=2, model="model-3", type="refund", **month)),
        ("31 days, user", dict(user_id=user, **month)),
        ("31 days, user name", dict(username=name, **month)),
        ("31 days, user, channel", dict(user_id=user, channel_id=3, **month)),
        ("31 days, busiest user", dict(user_id=busiest, **month)),
        ("31 days, busiest user, model", dict(user_id=busiest, model="model-1", **month)),
        ("31 days, busiest user, channel", dict(user_id=busiest, channel_id=3, **month)),
        ("31 days, busiest user, channel, model, type",
         dict(user_id=busiest, channel_id=3, model="model-1", type="consume", **month)),
        ("31 days, key", dict(token_id=their_key, **month)),
        ("31 days, key, channel", dict(token_id=their_key, channel_id=3, **month)),
        ("31 days, deleted key", dict(token_id=deleted_key, **month)),
        ("31 days, no such key", dict(token_id=999_999_999, **month)),
        ("31 days, key by its name", dict(token_name=key, **month)),
        ("31 days, key by a name that half of them have: refused",
         dict(token_name="default", **month)),
        ("31 days, request", dict(request_id=request, **month)),
    ]
    exports = [
        ("1 000 lines", {}),
        ("1 000 lines of a model", dict(model="model-7")),
        ("a model used 10 times", dict(model="rare")),
        ("1 000 lines of a model given up 18 days ago", dict(model="retired")),
        ("1 000 lines of a model used 5 000 times", dict(model="thin")),
        ("1 000 lines of a deleted key", dict(token_id=deleted_key)),
        ("1 000 lines of the busiest user", dict(user_id=busiest)),
    ]
    return [
        *((f"log: {what}", to("/api/log", **filters)) for what, filters in pages),
        *((f"export: {what}", to("/api/log/export", limit=1_000, **filters))
          for what, filters in exports),
        *((f"sums: {what}", to("/api/log/stat", **filters)) for what, filters in sums),
        ("statement: user", to("/api/statement", user_id=user)),
        ("statement: busiest user", to("/api/statement", user_id=busiest)),
        ("statement: busiest user, last month",
         to("/api/statement", user_id=busiest, month=last_month)),
        ("statement: as CSV", to("/api/statement", user_id=user, format="csv")),
        ("audit trail", "/api/audit/actions"),
        ("users", "/api/user?page_size=100"),
        ("users, page 50", "/api/user?page_size=100&p=50"),
        ("user, searched for", "/api/user/search?keyword=user-49"),
        ("keys of a user", f"/api/token?user_id={user}"),
        ("tasks", "/api/task"),
    ], [
        ("own log", "/api/log/self"),
        ("own log, page 100 of 100 lines", "/api/log/self?p=100&page_size=100"),
        ("own sums of 31 days", to("/api/log/self/stat", **month)),
        ("own statement", "/api/statement/self"),
    ], busiest


def console_pages(dsn):
    """The console's pages, as their links have them: an operator's, and a user's own."""
    user, request = psql(dsn, "-F", " ", "-c", """
        SELECT user_id, request_id FROM logs WHERE type = 'consume' AND id > (SELECT max(id) FROM logs) / 2
        ORDER BY id LIMIT 1""").split()
    busiest = psql(dsn, "-c", "SELECT user_id FROM logs_by_day GROUP BY user_id ORDER BY sum(lines) DESC LIMIT 1")
    day, week_ago = (date.today() - timedelta(days=days) for days in (1, 7))
    operators = ["", "?range=24h", "?range=7d", "/channels", "/channels?sort=used_quota", "/channels/1", "/channels/new",
                 "/channels/batch", "/protocols", "/prices", "/prices?show=unpriced", "/groups",
                 "/users", "/users?p=50", "/users?sort=quota", "/users?sort=used_quota", "/users?keyword=user-49",
                 f"/users/{user}", f"/users/{user}/adjust", "/keys", "/keys?sort=used_quota", "/keys/new",
                 "/log", "/log?p=100", "/log?model=model-7", "/log?type=error", f"/log?user_id={user}",
                 f"/log?from={week_ago}&to={day}", "/log?show=recent", f"/explain/{request}", "/find?q=user-49",
                 f"/find?q={request}", "/tasks", "/tasks?status=unfinished", "/webhooks", "/codes", "/audit", "/actions",
                 "/settings", "/doctor", "/statements", f"/statements?user_id={user}",
                 "/usage", "/usage?per=user", "/usage?per=key", "/usage?per=day",
                 "/usage?per=channel", "/usage?range=30d", "/usage?model=model-7", "/usage?model=rare&range=30d",
                 "/usage?channel_id=3", f"/usage?user_id={busiest}", f"/usage?user_id={busiest}&channel_id=3&per=day",
                 "/log?type=spent", f"/log?type=spent&user_id={busiest}", "/users?deleted=true",
                 "/actions?kind=money", f"/actions?target_user_id={user}", f"/users/{busiest}",
                 "/api", "/play", "/account"]
    users = ["", "/keys", "/log", f"/log?from={week_ago}&to={day}", "/log?model=model-7", "/log?type=spent", "/usage",
             "/usage?per=key", "/usage?per=day", "/usage?model=model-7", "/usage?range=30d", "/statements", "/tasks", "/webhooks", "/redeem", "/prices", "/api", "/play", "/account"]
    return operators, users


def measured(server, path, who, size):
    """What a query takes: its status, the first time it is asked, and its other times in order."""
    status, first = ask(server, path, who)
    times, began = [], time.monotonic()
    while len(times) < size["requests"] and time.monotonic() - began < size["within"]:
        status, ms = ask(server, path, who)
        if status >= 500:
            raise RuntimeError(f"{path}: {status}")
        times.append(ms)
    return status, first, sorted(times)


def journal(bench):
    size = SIZES[bench.name]
    dsn = os.environ.get("BENCH_JOURNAL_DSN") or make_database("bench_journal")
    # The same secret each time, so that a database can be measured again.
    server = bench.keep(Newapi("postgres-journal", bench.out, bench.stub, dsn, SECRET_KEY="bench",
                               ROOT_PASSWORD=ROOT_PASSWORD))
    fill(dsn, size)
    say("  waiting until the journal is added up")
    if not wait_until(lambda: added_up(dsn), seconds=ADDED_UP_SECONDS, pause=2):
        raise RuntimeError("the journal was not added up in time")
    lines = int(psql(dsn, "-c", "SELECT max(id) FROM logs"))

    of_operator, of_busiest, busiest = queries(dsn)
    operator, own = by_token(ROOT_TOKEN), by_token(server.call(f"/api/user/{busiest}/token", {}))
    asked = [(*query, operator) for query in of_operator] + [(*query, own) for query in of_busiest]
    bench.title(f"A journal of {lines:,} lines over three months, PostgreSQL: the API")
    medians = [(middle, name) for name, middle, _ in table(bench, server, asked, size)]
    slowest, name = max(medians)
    bench.goal(f"{len(asked)} pages and sums of the API, postgres: median ≤ {GOAL_MS} ms",
               slowest <= GOAL_MS, f"at most {slowest:.1f} ms ({name})")

    if not int(psql(dsn, "-c", "SELECT count(*) FROM channels")):
        server.set_up(0)
    server.call(f"/api/user/{busiest}", {"password": ROOT_PASSWORD}, "PUT")
    username = psql(dsn, "-c", f"SELECT username FROM users WHERE id = {busiest}")
    operators, users = console_pages(dsn)
    root = server.log_in("root", ROOT_PASSWORD)
    user = server.log_in(username, ROOT_PASSWORD)
    asked = [(f"operator: {path or '/'}", "/console" + path, root) for path in operators]
    asked += [(f"busiest user: {path or '/'}", "/console" + path, user) for path in users]
    bench.title(f"A journal of {lines:,} lines over three months, PostgreSQL: the console")
    p95s = [(p95, name) for name, _, p95 in table(bench, server, asked, size)]
    slowest, name = max(p95s)
    bench.goal(f"{len(asked)} pages of the console, postgres: p95 ≤ {CONSOLE_GOAL_MS} ms",
               slowest <= CONSOLE_GOAL_MS, f"at most {slowest:.1f} ms ({name})")
    bench.end(server)


def table(bench, server, asked, size):
    """Measures these queries and shows them; their names, medians and 95th percentiles."""
    rows, got = [], []
    for name, path, who in asked:
        status, first, times = measured(server, path, who, size)
        # A refusal is fast, and says nothing about what was to be measured.
        if status >= 400 and ": refused" not in name:
            raise RuntimeError(f"{path}: {status}")
        middle, p95 = median(times), times[min(len(times) - 1, len(times) * 95 // 100)]
        got.append((name, middle, p95))
        rows.append((name, status, len(times), *(f"{ms:.1f} ms" for ms in (first, middle, p95))))
        say(f"  {rows[-1]}")
    bench.table(("query", "status", "requests", "first", "median", "p95"), rows)
    return got
