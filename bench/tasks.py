"""How the poller scales: from a thousand to a million unfinished tasks, and beside bad channels."""

import json
import subprocess
import time
import urllib.request
from statistics import median

from harness import MIB, measure, say, wait_until
from targets import FIXED, UPSTREAM_KEY, Target, start_stub

CHANNELS = 50
SIZES = {  # interval (s), how many tasks, when the lag is looked at
    "smoke": dict(interval=5, counts=[1_000, 10_000], lag=10_000),
    "quick": dict(interval=30, counts=[1_000, 10_000, 100_000, 1_000_000], lag=100_000),
    "full": dict(interval=30, counts=[1_000, 10_000, 100_000, 1_000_000], lag=100_000),
}


def ask(stub, path):
    request = urllib.request.Request(f"http://{stub.address}{path}",
                                     headers={"Authorization": f"Bearer {UPSTREAM_KEY}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def sql(dsn, text):
    done = subprocess.run(["psql", "-XAtq", dsn, "-c", text], check=True, capture_output=True,
                          text=True)
    return done.stdout.strip()


def make_channels(server, stub, prefix, count, base=""):
    """So many channels with one model each; the upstream's paths begin with `base`."""
    made = []
    for number in range(count):
        model = f"{base}{prefix}-{number}/submit"
        channel = server.call("/api/channel", {
            "name": f"{prefix}-{number}", "type": 52, "base_url": f"http://{stub.address}",
            "key": UPSTREAM_KEY, "models": [model], "groups": ["default"]})
        made.append((channel["id"], model))
    return made


def seed(server, channels, first, last):
    """Unfinished tasks of these numbers, spread over the channels, taken by the upstream already."""
    ids = ",".join(str(id) for id, _ in channels)
    models = ",".join(f"'{model}'" for _, model in channels)
    sql(server.dsn, f"""
        INSERT INTO tasks (uid, task_id, user_id, token_id, channel_id, action, status, key_sealed,
                           submit_time)
        SELECT md5(n::text || clock_timestamp()::text)::uuid, 't-' || n, t.user_id, t.id,
               (ARRAY[{ids}])[1 + n % {len(channels)}], (ARRAY[{models}])[1 + n % {len(channels)}],
               'processing', t.key_sealed, now()
        FROM generate_series({first}, {last}) n, (SELECT * FROM tokens ORDER BY id LIMIT 1) t""")
    sql(server.dsn, "VACUUM ANALYZE tasks")


def settle_in(stub, count, unfinished, interval):
    """Waits until every task was asked about: then what is said of them is not new any more."""
    ask(stub, "/tasks/begin")
    wait_until(lambda: ask(stub, f"/tasks/stats?count={count}")["reached"] >= unfinished,
               seconds=10 * interval, pause=2)


def watched(server, stub, count, interval):
    """Two intervals: what they cost, and how long the tasks were left alone."""
    ask(stub, "/tasks/begin")
    server.process.forget_peak()
    cpu, database, began = server.process.cpu_ms(), server.database_cpu_ms(), time.monotonic()
    time.sleep(2 * interval + 1)
    took_ms = (time.monotonic() - began) * 1000
    cpu = (server.process.cpu_ms() - cpu) / took_ms * 100
    database = (server.database_cpu_ms() - database) / took_ms * 100
    got = ask(stub, f"/tasks/stats?count={count}")
    return dict(got, cpu=cpu, database=database, peak=server.process.memory("VmHWM"))


def scale(bench, size, interval):
    stub, server = bench.stub, newapi(bench, "postgres-tasks", interval)
    channels = make_channels(server, stub, "tasks", CHANNELS)
    paid = Target("paid", server.load(FIXED), server)
    rows, before, done = [], 0, 0
    for count in size["counts"]:
        say(f"  {count} tasks")
        seed(server, channels, before + 1, count)
        before = count
        settle_in(stub, count, count - done, interval)
        got = watched(server, stub, count, interval)
        calls = [measure(paid, 8, 3, bench.quiet, stub) for _ in range(3)]
        rows.append((f"{count:,}", f"{got['reached']:,}", f"{got['questions'] / 2:.0f}",
                     f"{got['pause_p50_ms'] / 1000:.1f} s", f"{got['pause_p99_ms'] / 1000:.1f} s",
                     f"{got['pause_max_ms'] / 1000:.1f} s", f"{got['cpu']:.1f} %",
                     f"{got['database']:.1f} %", f"{got['peak'] / MIB:.0f} MiB",
                     f"{median(c['p50'] for c in calls):.0f} µs",
                     f"{median(c['p99'] for c in calls):.0f} µs"))
        goals(bench, count, got, interval)
        if count == size["lag"]:
            done = count // 100
            lag(bench, server, stub, count, interval)
    bench.title(f"Unfinished tasks over {CHANNELS} channels, asked about every {interval} s, "
                "PostgreSQL")
    bench.table(("tasks", "asked about", "questions an interval", "pause p50", "pause p99",
                 "longest", "CPU of a core", "database", "peak memory", "paid call p50", "p99"),
                rows)
    bench.end(server)


def goals(bench, count, got, interval):
    if count == 100_000:
        late = got["pause_max_ms"] / 1000
        bench.goal(f"100 000 tasks: each asked about within {interval} s (+ 1 s)",
                   got["reached"] == count and late <= interval + 1, f"{late:.1f} s")
        bench.goal("100 000 tasks: < 50 % of a core", got["cpu"] < 50, f"{got['cpu']:.1f} %")
        bench.goal("100 000 tasks: < 300 MiB", got["peak"] < 300 * MIB,
                   f"{got['peak'] / MIB:.0f} MiB")
    if count == 1_000_000:
        bench.goal("1 000 000 tasks: < 1 GiB", got["peak"] < 1024 * MIB,
                   f"{got['peak'] / MIB:.0f} MiB")


def lag(bench, server, stub, count, interval):
    """Every hundredth task is done at one instant: how long until each has ended here."""
    at = sql(server.dsn, "SELECT extract(epoch FROM clock_timestamp())")
    ask(stub, "/tasks/done?every=100")
    ended = "SELECT count(*) FROM tasks WHERE status = 'completed'"
    wait_until(lambda: int(sql(server.dsn, ended)) >= count // 100, seconds=10 * interval,
               pause=.5)
    ask(stub, "/tasks/done?every=0")
    p50, p99 = (float(x) for x in sql(server.dsn, f"""
        SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finish_time) - {at}),
               percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM finish_time) - {at})
        FROM tasks WHERE status = 'completed'""").split("|"))
    bench.line(f"\nDetection lag with {count:,} tasks, of which {count // 100:,} are done at one "
               f"instant: p50 {p50:.1f} s, p99 {p99:.1f} s")
    bench.goal(f"detection lag p99 ≤ {interval + 1} s", p99 <= interval + 1, f"{p99:.1f} s")


def isolation(bench, size, interval):
    """Good channels alone, and beside three bad ones."""
    stub, server = start_stub(bench.out), newapi(bench, "postgres-isolation", interval)
    good = make_channels(server, stub, "good", 10)
    seed(server, good, 1, 5_000)
    settle_in(stub, 5_000, 5_000, interval)
    alone = watched(server, stub, 5_000, interval)
    seed(server, make_channels(server, stub, "bad", 1, "hang/"), 100_001, 101_000)
    seed(server, make_channels(server, stub, "bad", 1, "garbage/"), 200_001, 201_000)
    seed(server, make_channels(server, stub, "stuck", 1), 300_001, 310_000)
    time.sleep(2 * interval)
    beside = watched(server, stub, 5_000, interval)
    bench.title("5 000 tasks of good channels, beside a channel that hangs, one that answers "
                "garbage and one with 10 000 stuck tasks")
    bench.table(("", "pause p50", "pause p99", "longest"),
                [(name, *(f"{got[f'pause_{p}_ms'] / 1000:.1f} s" for p in ("p50", "p99", "max")))
                 for name, got in (("alone", alone), ("beside them", beside))])
    worse = (beside["pause_p99_ms"] - alone["pause_p99_ms"]) / 1000
    bench.goal("bad channels leave the others' lag unchanged (± 1 s)",
               abs(worse) <= 1 and beside["reached"] == 5_000, f"{worse:+.1f} s")
    bench.end(server)
    stub.stop()


def newapi(bench, name, interval):
    server = bench.start_newapi(name, bench.stub, CUSTOM_PASS_POLL_INTERVAL=f"{interval}s",
                                CUSTOM_PASS_TASK_MAX_LIFETIME="24h")
    return server


def tasks(bench):
    if "postgres" not in bench.databases:
        return
    size = SIZES[bench.name]
    scale(bench, size, size["interval"])
    isolation(bench, size, min(size["interval"], 10))
