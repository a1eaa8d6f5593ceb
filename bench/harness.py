"""Processes, what they cost, and load. Everything stays on loopback and is ended by itself."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()
MIB = 1 << 20


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, seconds=30, pause=0.02):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(pause)
    return None


class Process:
    """A server in a session of its own: all that it starts is found, and ended, by that."""

    def __init__(self, name, command, out, env=None, core=None):
        self.name, self.log = name, out / f"{name}.log"
        pin = ["taskset", "-c", str(core)] if core is not None else []
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(pin + command, env=env, stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, start_new_session=True)

    @property
    def pid(self):
        return self.child.pid

    def pids(self):
        shown = subprocess.run(["ps", "-o", "pid=", "-s", str(self.pid)],
                               capture_output=True, text=True).stdout
        return [int(p) for p in shown.split()]

    def alive(self):
        return self.child.poll() is None

    def cpu_ms(self):
        return sum(process_cpu_ms(p) for p in self.pids())

    def memory(self, field="VmRSS"):
        return sum(memory_bytes(p, field) for p in self.pids())

    def forget_peak(self):
        for p in self.pids():
            Path(f"/proc/{p}/clear_refs").write_text("5")

    def stop(self):
        if self.alive():
            self.child.terminate()
        try:
            self.child.wait(40)
        except subprocess.TimeoutExpired:
            say(f"bench: {self.name} did not end by itself")
        for p in self.pids():
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.wait()


def process_cpu_ms(pid):
    """User and system time, ended children included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(f) for f in fields[11:15]) * 1000 / TICK


def memory_bytes(pid, field):
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.M)
    return int(found[1]) * 1024 if found else 0


def machine_ms(core=None):
    """(time of all processes, time stolen by the host) of the machine, or of one core."""
    lines = Path("/proc/stat").read_text().split("\n")
    fields = [int(f) for f in lines[0 if core is None else core + 1].split()[1:]]
    return (fields[0] + fields[1] + fields[2]) * 1000 / TICK, fields[7] * 1000 / TICK


class Wrk:
    """One load: where to, as whom, for which model."""

    def __init__(self, out, url, keys, model, stream=False):
        self.url = url
        self.env = {**os.environ, "BENCH_MODEL": model, "BENCH_STREAM": "1" if stream else ""}
        file = out / f"keys-{abs(hash((url, model, len(keys), keys[0])))}"
        file.write_text("\n".join(keys) + "\n")
        self.env["BENCH_KEYS"] = str(file)

    def run(self, connections, seconds, core=None):
        """Runs; gives requests, seconds, errors, p50 and p99 in µs, and its own CPU time."""
        pin = ["taskset", "-c", str(core)] if core is not None else []
        before = os.times()
        done = subprocess.run(
            pin + ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s",
                   "-s", str(HERE / "load.lua"), self.url],
            env=self.env, capture_output=True, text=True)
        after = os.times()
        found = re.search(r"^RESULT (.*)$", done.stdout, re.M)
        if not found:
            raise RuntimeError(f"wrk: {done.stdout}{done.stderr}")
        requests, took, errors, p50, p99 = (float(x) for x in found[1].split())
        cpu = (after.children_user - before.children_user
               + after.children_system - before.children_system) * 1000
        return {"requests": requests, "seconds": took, "errors": errors,
                "p50": p50, "p99": p99, "load_ms": cpu}


class Quiet:
    """Tells how much of the machine others use, and waits, within bounds, until it is little."""

    def __init__(self, limit_percent, patience_s, tries):
        self.limit, self.patience, self.tries = limit_percent, patience_s, tries

    def wait(self, core=None):
        cores = CORES if core is None else 1
        while self.patience > 0:
            busy, stolen = machine_ms(core)
            time.sleep(0.5)
            busy2, stolen2 = machine_ms(core)
            if (busy2 - busy + stolen2 - stolen) / (5 * cores) <= self.limit:
                return
            self.patience -= 1
            time.sleep(0.5)


def measure(target, connections, seconds, quiet, stub, core=None):
    """One measurement of a target: the least noisy of a few tries."""
    best = None
    for _ in range(quiet.tries):
        quiet.wait(core)
        costs = [target.cpu_ms(), target.database_cpu_ms(), stub.cpu_ms(), *machine_ms(core)]
        started = time.monotonic()
        got = target.wrk.run(connections, seconds, core)
        took = (time.monotonic() - started) * 1000
        now = [target.cpu_ms(), target.database_cpu_ms(), stub.cpu_ms(), *machine_ms(core)]
        own, database, stub_ms, busy, stolen = (n - c for n, c in zip(now, costs))
        others = max(0, busy - own - database - stub_ms - got["load_ms"])
        cores = CORES if core is None else 1
        got["noise"] = (others + stolen) / (took * cores) * 100
        thousand = max(got["requests"], 1) / 1000
        got["rps"] = got["requests"] / got["seconds"]
        got["cpu"], got["database_cpu"] = own / thousand, database / thousand
        if best is None or got["noise"] < best["noise"]:
            best = got
        if best["noise"] <= quiet.limit:
            break
    return best


def spread(values):
    values = sorted(values)
    return median(values), values[0], values[-1]
