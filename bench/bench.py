#!/usr/bin/env python3
"""Measures newapi beside the stub alone, nginx and a bare hyper proxy. See README.md."""

import argparse
import os
import platform
import resource
import sys
import time
from datetime import datetime, timezone
from statistics import median

import streams
from consoles import consoles
from journal import journal
from kept import kept
from reading import reading
from tasks import tasks
from harness import CORES, HERE, MIB, Quiet, Wrk, measure, say, spread
from targets import (BEFORE, BY_USE, CHAT, CLIENT_KEY, ESTIMATED, FIXED, FREE, UPSTREAM_KEY, Newapi,
                     Target, make_database, start_hyper, start_nginx, start_stub)

SIZES = {  # rounds, seconds, connections, patience for a quiet machine (s), tries
    "smoke": dict(rounds=1, seconds=1, connections=[32], patience=0, tries=1, accounts=20),
    "quick": dict(rounds=3, seconds=3, connections=[32, 256], patience=60, tries=2,
                  accounts=1000),
    "full": dict(rounds=7, seconds=5, connections=[32, 256], patience=600, tries=3,
                 accounts=1000),
}
GIB = 1 << 30
NOISE_LIMIT = 10  # per cent of the machine that others may use during a measurement


class Bench:
    """One run: its directory, what is running, the tables so far, and the goals."""

    def __init__(self, size, databases, patience):
        self.name, self.size, self.databases = size, SIZES[size], databases
        self.out = HERE / "results" / datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
        self.out.mkdir(parents=True)
        self.running, self.text, self.goals = [], [], []
        patience = self.size["patience"] if patience is None else patience
        self.quiet = Quiet(NOISE_LIMIT, patience, self.size["tries"])

    def keep(self, server):
        self.running.append(server)
        return server

    def end(self, server):
        """Stops it; a newapi has to account for every quota then."""
        self.running.remove(server)
        server.stop() if hasattr(server, "stop") else server.process.stop()
        if isinstance(server, Newapi):
            self.goal(f"{server.name}: the audit is clean afterwards", server.audit(), "")

    def end_all(self):
        for server in reversed(self.running[:]):
            self.end(server)

    def start_newapi(self, name, stub, accounts=1, core=None, **settings):
        database = make_database("bench_" + name.replace("-", "_")) if "postgres" in name else None
        server = self.keep(Newapi(name, self.out, stub, database, core, **settings))
        server.set_up(accounts)
        return server

    def start_before(self, name, stub, core=None):
        """The build before, where NEWAPI_BEFORE names one: measured in the same rounds."""
        return self.start_newapi(f"{name}-before", stub, core=core, binary=BEFORE)

    def title(self, text):
        self.line(f"\n### {text}\n")

    def line(self, text):
        self.text.append(text)
        print(text, flush=True)

    def table(self, columns, rows):
        self.line("| " + " | ".join(columns) + " |")
        self.line("|---" + "|--:" * (len(columns) - 1) + "|")
        for row in rows:
            self.line("| " + " | ".join(str(cell) for cell in row) + " |")

    def goal(self, what, met, measured):
        self.goals.append((what, measured, "yes" if met else "**no**"))


def proxies(bench, stub, workers=CORES, core=None):
    """The yardsticks: the stub alone, nginx, hyper."""
    targets = [Target("direct", Wrk(bench.out, f"http://{stub.address}{CHAT}", [UPSTREAM_KEY],
                                    FIXED))]
    for name, start in (("nginx", start_nginx), ("hyper", start_hyper)):
        proxy = bench.keep(start(bench.out, stub, workers, core))
        load = Wrk(bench.out, proxy.base + CHAT, [CLIENT_KEY], FIXED)
        targets.append(Target(name, load, proxy))
    return targets


def rounds(bench, targets, connections, core=None, seconds=None):
    """Measures the targets in turn, each round in another order; a list of rounds by name."""
    for target in targets:
        target.wrk.run(16, 1, core)
    results = []
    for number in range(bench.size["rounds"]):
        at = number % len(targets)
        results.append({})
        for target in targets[at:] + targets[:at]:
            got = measure(target, connections, seconds or bench.size["seconds"], bench.quiet,
                          bench.stub, core)
            results[-1][target.name] = got
            say(f"  {connections:4} connections, round {number + 1}: {target.name:30} "
                f"{got['rps']:8.0f}/s  p50 {got['p50']:7.0f} µs  errors {got['errors']:.0f}  "
                f"noise {got['noise']:.0f} %")
    return results


def pairs(results, name, base):
    """Rounds in which both were measured undisturbed; all of them, when there is none."""
    quiet = [r for r in results if max(r[name]["noise"], r[base]["noise"]) <= NOISE_LIMIT]
    return quiet or results


def ratios(results, name, base, field):
    return spread([r[name][field] / max(r[base][field], 1e-9)
                   for r in pairs(results, name, base)])


def undisturbed(results, name):
    """The measurements of a target that others did not disturb; all, when there is none."""
    got = [r[name] for r in results]
    return [g for g in got if g["noise"] <= NOISE_LIMIT] or got


def added_p50(results, name):
    return median(r[name]["p50"] - r["direct"]["p50"] for r in pairs(results, name, "direct"))


def show(bench, targets, results):
    """The table of some rounds; all ratios are medians over the rounds, with their range."""
    rows = []
    for target in targets:
        name = target.name
        got = undisturbed(results, name)
        middle, low, high = ratios(results, name, "nginx", "rps")
        cpu = ratios(results, name, "nginx", "cpu")[0]
        added = added_p50(results, name)
        database = median(g["database_cpu"] for g in got)
        rows.append((
            name, f"{median(g['rps'] for g in got):.0f}", f"{middle:.2f} ({low:.2f}–{high:.2f})",
            f"{median(g['p50'] for g in got):.0f} µs", f"{median(g['p99'] for g in got):.0f} µs",
            "–" if name == "direct" else f"{added:.0f} µs",
            "–" if name == "direct" else f"{median(g['cpu'] for g in got):.0f} ms",
            "–" if name == "direct" else f"{cpu:.1f}",
            f"{database:.0f} ms" if database else "–",
            f"{sum(r[name]['errors'] for r in results):.0f}",
            f"{median(g['noise'] for g in got):.0f} %", f"{len(got)} of {len(results)}"))
    bench.table(("target", "requests/s", ": nginx (range)", "p50", "p99", "added p50",
                 "CPU / 1000", ": nginx", "database CPU / 1000", "errors", "noise", "rounds used"),
                rows)


def throughput(bench):
    """Many connections: the yardsticks, and newapi with each kind of price on each database."""
    targets = proxies(bench, bench.stub)
    for database in bench.databases:
        server = bench.start_newapi(database, bench.stub)
        for price, model in (("fixed", FIXED), ("by use", BY_USE), ("estimate", ESTIMATED),
                             ("free", FREE)):
            targets.append(Target(f"{database}, {price}", server.load(model), server))
        if BEFORE:
            before = bench.start_before(database, bench.stub)
            for price, model in (("fixed", FIXED), ("by use", BY_USE), ("free", FREE)):
                targets.append(Target(f"{database}, {price}, before", before.load(model), before))
    for connections in bench.size["connections"]:
        results = rounds(bench, targets, connections)
        bench.title(f"{connections} connections")
        show(bench, targets, results)
        for database, low, high in (("sqlite", .5, .5), ("postgres", .15, .35)):
            if database in bench.databases:
                throughput_goals(bench, database, connections, low if connections < 256 else high,
                                 results)
    bench.end_all()


def throughput_goals(bench, database, connections, floor, results):
    fixed, free = f"{database}, fixed", f"{database}, free"
    at = f"at {connections} connections, {database}"
    got = ratios(results, fixed, "nginx", "rps")[0]
    bench.goal(f"paid requests/s {at}: ≥ {floor} × nginx", got >= floor, f"{got:.2f}")
    got = ratios(results, free, "nginx", "rps")[0]
    bench.goal(f"free requests/s {at}: ≥ 0.7 × nginx", got >= .7, f"{got:.2f}")
    got = ratios(results, fixed, "nginx", "cpu")[0]
    bench.goal(f"CPU of paid requests {at}: ≤ 3 × nginx", got <= 3, f"{got:.1f}")


def one_core(bench):
    """One connection, everything on one core: what a request costs when nothing overlaps."""
    keep, bench.stub = bench.stub, start_stub(bench.out, core=0)
    targets = proxies(bench, bench.stub, workers=1, core=0)
    for database in bench.databases:
        server = bench.start_newapi(f"{database}-core", bench.stub, core=0)
        for price, model in (("fixed", FIXED), ("by use", BY_USE), ("free", FREE)):
            targets.append(Target(f"{database}, {price}", server.load(model), server))
        if BEFORE:
            before = bench.start_before(f"{database}-core", bench.stub, core=0)
            for price, model in (("fixed", FIXED), ("free", FREE)):
                targets.append(Target(f"{database}, {price}, before", before.load(model), before))
    results = rounds(bench, targets, 1, core=0)
    bench.title("1 connection, everything on one core")
    show(bench, targets, results)

    for database in bench.databases:
        free = added_p50(results, f"{database}, free")
        bench.goal(f"added latency of a free model, {database}: ≤ 100 µs", free <= 100,
                   f"{free:.0f} µs")
    if "sqlite" in bench.databases:
        paid = added_p50(results, "sqlite, fixed")
        bench.goal("added latency of a paid request, sqlite: ≤ 500 µs", paid <= 500,
                   f"{paid:.0f} µs")
    bench.end_all()
    bench.stub.stop()
    bench.stub = keep


def accounts(bench):
    """One hot account against a thousand."""
    many = bench.size["accounts"]
    bench.title(f"One hot account against {many}, 256 connections, fixed price")
    rows = []
    for database in bench.databases:
        server = bench.start_newapi(f"{database}-accounts", bench.stub, accounts=many)
        hot = Target("hot", server.load(FIXED), server)
        spread_out = Target("many", server.load(FIXED, many), server)
        results = rounds(bench, [hot, spread_out], 256)
        middle, low, high = ratios(results, "hot", "many", "rps")
        rows.append((database, *(f"{median(r[n]['rps'] for r in results):.0f}"
                                 for n in ("hot", "many")),
                     f"{middle:.2f} ({low:.2f}–{high:.2f})"))
        bench.goal(f"one hot account, {database}: ≥ 0.9 × a thousand", middle >= .9,
                   f"{middle:.2f}")
        bench.end(server)
    bench.table(("database", "hot: requests/s", "many: requests/s", "hot : many (range)"), rows)


def first_event(bench):
    """A stream's first event, one stream at a time, the targets in turn."""
    nginx = bench.keep(start_nginx(bench.out, bench.stub, buffering=False))
    hyper = bench.keep(start_hyper(bench.out, bench.stub))
    targets = {"direct": (f"http://{bench.stub.address}", UPSTREAM_KEY, FREE),
               "nginx, unbuffered": (nginx.base, CLIENT_KEY, FREE),
               "hyper": (hyper.base, CLIENT_KEY, FREE)}
    for database in bench.databases:
        server = bench.start_newapi(f"{database}-streams", bench.stub)
        for price, model in (("free", FREE), ("fixed", FIXED), ("by use", BY_USE)):
            targets[f"{database}, {price}"] = (server.base, server.keys[0], model)
    times = {name: [] for name in targets}
    names = list(targets)
    for number in range(bench.size["rounds"] * 3):
        bench.quiet.wait()
        at = number % len(names)
        for name in names[at:] + names[:at]:
            base, key, model = targets[name]
            times[name] += streams.first_events(f"{base}{CHAT}?gap_ms=1", key, model, 12)[2:]
    base = median(times["direct"])
    bench.title("A stream's first event")
    bench.table(("target", "p50", "p99", "later than direct (p50)"), [
        (name, f"{median(got):.0f} µs", f"{sorted(got)[int(len(got) * .99)]:.0f} µs",
         "–" if name == "direct" else f"{median(got) - base:.0f} µs")
        for name, got in times.items()])
    for database in bench.databases:
        late = median(times[f"{database}, free"]) - base
        bench.goal(f"first event without a hold, {database}: ≤ 300 µs later", late <= 300,
                   f"{late:.0f} µs")
    bench.end_all()


def memory(bench):
    """Resident memory: idle, at 256 connections, with as many idle streams as descriptors."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min((limit - 300) // 2, 20_000)  # newapi keeps 256 for itself
    rows = []
    for database in bench.databases:
        server = bench.start_newapi(f"{database}-memory", bench.stub,
                                    CUSTOM_PASS_DRAIN_SECONDS="1")
        server.stop()
        ready = median(restart(server) for _ in range(7))
        time.sleep(3)
        process = server.process
        idle = process.memory()
        server.load(FIXED).run(256, 2 * bench.size["seconds"])
        peak = process.memory("VmHWM")
        server.stop()
        restart(server)
        process = server.process
        server.load(FREE).run(4, 1)
        before = process.memory()
        # Beyond what a test in a hurry wants to wait for: all but the first event stay away.
        url = f"{server.base}{CHAT}?gap_ms=900000"
        idle_streams = streams.IdleStreams(url, server.keys[0], FREE, count)
        time.sleep(1)
        each = (process.memory() - before) / count
        served = idle_streams.served
        idle_streams.close()
        rows.append((database, f"{ready:.0f} ms", f"{idle / MIB:.1f} MiB",
                     f"{peak / MIB:.1f} MiB", f"{served} of {count}", f"{each / 1024:.1f} KiB"))
        bench.goal(f"ready on an existing database, {database}: ≤ 200 ms", ready <= 200,
                   f"{ready:.0f} ms")
        bench.goal(f"idle memory, {database}: ≤ 30 MiB", idle <= 30 * MIB,
                   f"{idle / MIB:.1f} MiB")
        bench.goal(f"peak at 256 connections, {database}: ≤ 64 MiB", peak <= 64 * MIB,
                   f"{peak / MIB:.1f} MiB")
        bench.goal(f"idle streams, {database}: all served", served == count,
                   f"{served} of {count}")
        bench.goal(f"an idle stream, {database}: ≤ 40 KiB", each <= 40 * 1024,
                   f"{each / 1024:.1f} KiB")
        bench.end(server)
    bench.title("Start and memory")
    bench.table(("database", "ready", "idle", "peak at 256 connections",
                 f"idle streams served (limit {limit} descriptors)", "each"), rows)


def restart(server):
    if server.process.alive():
        server.stop()
    return server.start()


def large_bodies(bench):
    """One GiB up and down, and one that is refused, in constant memory."""
    server = bench.start_newapi("sqlite-bodies", bench.stub,
                                CUSTOM_PASS_MAX_REQUEST_SIZE="2GiB")
    small = bench.start_newapi("sqlite-limit", bench.stub)
    cases = (("up, free", server, streams.upload, f"/pass/{FREE}", FREE, 200),
             ("up, fixed price", server, streams.upload, f"/pass/{FIXED}", FIXED, 200),
             ("up, over the limit", small, streams.upload, f"/pass/{FREE}", FREE, 413),
             ("down, free", server, streams.download, CHAT, FREE, 200),
             ("down, fixed price", server, streams.download, CHAT, FIXED, 200))
    rows = []
    for name, target, move, path, model, wanted in cases:
        target.load(model).run(4, 1)
        target.process.forget_peak()
        before = target.process.memory()
        status, taken, seconds = move(target.base + path, target.keys[0], model, GIB)
        grown = target.process.memory("VmHWM") - before
        whole = taken >= GIB if wanted == 200 else taken < GIB
        rows.append((name, status, f"{taken / MIB:.0f} MiB", f"{seconds:.1f} s",
                     f"{grown / MIB:.1f} MiB"))
        bench.goal(f"1 GiB {name}: {wanted}, memory grows by ≤ 8 MiB",
                   status == wanted and whole and grown <= 8 * MIB,
                   f"{status}, {grown / MIB:.1f} MiB")
    bench.title("A body of 1 GiB")
    bench.table(("body", "status", "moved", "time", "memory grew by"), rows)
    bench.end_all()


def yardsticks(bench):
    """What can be measured without newapi: a check of the harness itself."""
    targets = proxies(bench, bench.stub)
    for connections in bench.size["connections"]:
        results = rounds(bench, targets, connections)
        bench.title(f"{connections} connections")
        show(bench, targets, results)
    bench.end_all()


PARTS = {"throughput": throughput, "one-core": one_core, "accounts": accounts,
         "first-event": first_event, "memory": memory, "large-bodies": large_bodies,
         "tasks": tasks, "journal": journal, "kept": kept, "reading": reading,
         "consoles": lambda bench: consoles(bench, rounds, ratios)}


def main():
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("size", nargs="?", choices=SIZES, default="quick")
    reader.add_argument("--only", action="append", choices=[*PARTS, "yardsticks"],
                        help="this part only; may be given several times")
    reader.add_argument("--patience", type=int, metavar="SECONDS",
                        help="how long to wait, in all, for others to leave the machine alone")
    reader.add_argument("--database", action="append", choices=["sqlite", "postgres"])
    chosen = reader.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    databases = chosen.database or ["sqlite", "postgres"]
    if "PGPORT" not in os.environ and "postgres" in databases:
        sys.exit("bench: no PostgreSQL: use bench/run.sh, or --database sqlite")
    bench = Bench(chosen.size, databases, chosen.patience)
    bench.stub = start_stub(bench.out)
    bench.line(f"{chosen.size} run of {datetime.now(timezone.utc):%F %H:%M} UTC, {CORES} cores, "
               f"Linux {platform.release()}; {bench.size['rounds']} rounds of "
               f"{bench.size['seconds']} s")
    try:
        for part in chosen.only or PARTS:
            say(f"bench: {part}")
            {**PARTS, "yardsticks": yardsticks}[part](bench)
    finally:
        bench.end_all()
        bench.stub.stop()
    if bench.goals:
        bench.title("Goals")
        bench.table(("goal", "measured", "met"), bench.goals)
    (bench.out / "tables.md").write_text("\n".join(bench.text) + "\n")
    say(f"bench: {bench.out}/tables.md")


if __name__ == "__main__":
    main()
