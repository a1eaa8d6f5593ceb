#!/usr/bin/env python3
"""Where the CPU goes: perf over newapi under load. profile.py DATABASE MODEL CONNECTIONS"""

import subprocess
import sys
import tempfile
from pathlib import Path

from targets import Newapi, make_database, start_stub


def main():
    database, model, connections = sys.argv[1:4]
    out = Path(tempfile.mkdtemp(prefix="newapi-profile-"))
    stub = start_stub(out)
    dsn = make_database("profile") if database == "postgres" else None
    server = Newapi(database, out, stub, dsn)
    try:
        server.set_up(1)
        load = server.load(model)
        load.run(int(connections), 2)
        recorded = out / "perf.data"
        perf = subprocess.Popen(
            ["perf", "record", "-q", "-F", "1999", "--call-graph", "dwarf,16384", "-o", recorded,
             "-p", str(server.process.pid), "--", "sleep", "4"])
        before = server.process.cpu_ms(), server.database_cpu_ms()
        got = load.run(int(connections), 4)
        after = server.process.cpu_ms(), server.database_cpu_ms()
        perf.wait()
        own, base = ((b - a) / got["requests"] * 1000 for a, b in zip(before, after))
        print(f"{got['requests'] / got['seconds']:.0f} requests/s; for 1000 requests "
              f"{own:.0f} ms here, {base:.0f} ms in the database; {recorded}")
    finally:
        server.stop()
        stub.stop()


if __name__ == "__main__":
    main()
