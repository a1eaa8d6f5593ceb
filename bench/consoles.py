"""Open consoles: what ten pages that follow what happens cost the data plane."""

import socket
import threading
from statistics import median
from urllib.parse import urlsplit

from targets import FIXED, FREE, Target

CONSOLES = 10
PASSWORD = "bench-root-password"


class OpenConsoles:
    """Pages that are open: each holds the stream of events that its page opens."""

    def __init__(self, base, sessions):
        self.sockets, self.bytes, self.ends = [], 0, threading.Event()
        address = urlsplit(base)
        for number in range(CONSOLES):
            head = (f"GET /console/events?topics=calls,tasks&after=0 HTTP/1.1\r\n"
                    f"Host: {address.netloc}\r\nAccept: text/event-stream\r\n"
                    f"Cookie: {sessions[number % len(sessions)]}\r\n\r\n")
            opened = socket.create_connection((address.hostname, address.port), timeout=10)
            opened.sendall(head.encode())
            if b" 200 " not in opened.recv(4096).split(b"\r\n")[0]:
                raise RuntimeError("a console's stream was refused")
            opened.setblocking(False)
            self.sockets.append(opened)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        # A few times a second, as a browser draws: reading must not be what is measured.
        while not self.ends.wait(0.2):
            for opened in self.sockets:
                try:
                    while piece := opened.recv(65536):
                        self.bytes += len(piece)
                except BlockingIOError:
                    pass

    def close(self):
        self.ends.set()
        self.reader.join()
        for opened in self.sockets:
            opened.close()


class Watched:
    """A load, while consoles are open."""

    def __init__(self, load, server, sessions):
        self.load, self.server, self.sessions, self.told = load, server, sessions, 0

    def run(self, *arguments):
        consoles = OpenConsoles(self.server.base, self.sessions)
        try:
            return self.load.run(*arguments)
        finally:
            consoles.close()
            self.told += consoles.bytes


def consoles(bench, rounds, ratios):
    """The same load with and without them, in the same rounds."""
    rows = []
    for database in bench.databases:
        server = bench.start_newapi(f"{database}-consoles", bench.stub, ROOT_PASSWORD=PASSWORD)
        # Nobody may have more than six streams open.
        server.call("/api/user", {"username": "staff", "password": PASSWORD, "role": 10})
        sessions = [server.log_in(name, PASSWORD)["Cookie"] for name in ("root", "staff")]
        for price, model in (("fixed", FIXED), ("free", FREE)):
            load = server.load(model)
            watched = Watched(load, server, sessions)
            targets = [Target("alone", load, server), Target("watched", watched, server)]
            results = rounds(bench, targets, 32)
            # Calls without a price leave no line.
            if model == FIXED and not watched.told:
                raise RuntimeError("the consoles were told nothing")
            middle, low, high = ratios(results, "watched", "alone", "rps")
            rps = (f"{median(r[name]['rps'] for r in results):.0f}" for name in ("alone", "watched"))
            rows.append((f"{database}, {price}", *rps, f"{middle:.2f} ({low:.2f}–{high:.2f})"))
            bench.goal(f"{database}, {price}: with {CONSOLES} consoles open ≥ 0.95 × without",
                       middle >= .95, f"{middle:.2f}")
        bench.end(server)
    bench.title(f"{CONSOLES} consoles open, 32 connections")
    bench.table(("load", "alone: requests/s", "with consoles", "ratio (range)"), rows)
