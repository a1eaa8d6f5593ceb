#!/usr/bin/env python3
"""What a call costs in instructions of the program itself, by valgrind's callgrind: a figure that
does not depend on how busy the machine is. The kernel's part is not in it.

    NEWAPI_BIN=… NEWAPI_BEFORE=… bench/instructions.py [CALLS]

callgrind_annotate reads the files that it leaves."""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from targets import BEFORE, BY_USE, CHAT, FIXED, FREE, NEWAPI, Newapi, start_stub

CALLS, ROUNDS, WARM = 500, 3, 300


class Caller:
    """One connection, one call after the other."""

    def __init__(self, server, model):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello?"}]})
        self.headers = {"Authorization": f"Bearer {server.keys[0]}",
                        "Content-Type": "application/json"}

    def call(self, times):
        for _ in range(times):
            self.connection.request("POST", CHAT, self.body, self.headers)
            reply = self.connection.getresponse()
            if reply.status != 200:
                raise RuntimeError(f"{reply.status} {reply.read()!r}")
            reply.read()


def wrapped(binary, out):
    """A program that runs the binary under callgrind."""
    script = out / "under-callgrind"
    script.write_text(
        "#!/bin/sh\n"
        f"exec valgrind -q --tool=callgrind --dump-line=no "
        f"--callgrind-out-file={out}/callgrind.%p {binary} \"$@\"\n")
    script.chmod(0o755)
    return str(script)


def control(pid, *what):
    subprocess.run(["callgrind_control", *what, str(pid)], check=True, capture_output=True)


def instructions(dump):
    with open(dump) as lines:
        counted = [line.split()[1] for line in lines if line.startswith(("totals:", "summary:"))]
    return int(counted[-1])


def measure(name, binary, stub, calls):
    out = Path(tempfile.mkdtemp(prefix=f"newapi-instructions-{name}-"))
    server = Newapi("sqlite", out, stub, None, None, wrapped(binary, out))
    try:
        server.set_up(1)
        pid, found = server.process.pid, {}
        for model in (FREE, FIXED, BY_USE):
            caller = Caller(server, model)
            caller.call(WARM)
            counts = []
            for number in range(ROUNDS):
                control(pid, "-z")
                caller.call(calls)
                mark = f"{model}-{number}"
                control(pid, f"--dump={mark}")
                dump = max(out.glob("callgrind.*"), key=lambda path: path.stat().st_mtime_ns)
                dump = dump.rename(out / f"{mark}.callgrind")
                counts.append(instructions(dump) / calls)
            found[model] = statistics.median(counts)
        return found, out
    finally:
        server.stop()


def main():
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    stub = start_stub(Path(tempfile.mkdtemp(prefix="newapi-instructions-")))
    builds = {"now": NEWAPI, "before": BEFORE}
    try:
        for name, binary in builds.items():
            if binary:
                found, out = measure(name, os.path.abspath(binary), stub, calls)
                row = " | ".join(f"{found[model]:,.0f}" for model in (FREE, FIXED, BY_USE))
                print(f"| {name} | {row} |  {out}", flush=True)
    finally:
        stub.stop()


if __name__ == "__main__":
    main()
