"""A real newapi for the tests of clients: on SQLite, in a directory and on a port of its own."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

ROOT_TOKEN = "root-access-token-of-a-client-test"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """Serves from the start on, after the commands `beside` have been started.

    `settings` are further variables of the environment.
    """

    def __init__(self, newapi, directory, beside=(), **settings):
        self.newapi, self.directory, self.port = newapi, directory, free_port()
        self.log = os.path.join(directory, "newapi.log")
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": directory,
            "DATA_DIR": directory,
            "PORT": str(self.port),
            "LISTEN_ADDR": "127.0.0.1",
            "ENABLE_METRICS": "false",
            "ROOT_ACCESS_TOKEN": ROOT_TOKEN,
            "ROOT_PASSWORD": "a password for a client test",
            "LOG_FILE": self.log,
            **settings,
        }
        self.processes = [self.start(*command) for command in [*beside, ["serve"]]]
        self.wait_until_ready()

    def start(self, *arguments):
        command = [self.newapi, *arguments]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL)

    def wait_until_ready(self):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status", timeout=5)
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server did not become ready")

    def call(self, method, path, body=None):
        """The whole answer of a call as root."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ROOT_TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def api(self, method, path, body=None):
        """What stands in the answer's envelope."""
        return self.call(method, path, body)["data"]

    def audit(self):
        ran = subprocess.run(
            [self.newapi, "audit"], env=self.environment, capture_output=True, text=True,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            process.wait(timeout=60)


def run(house_of, tests):
    """Runs each `test_…` of a module's globals on one house, then its audit; the exit status."""
    tests = [(name, test) for name, test in tests.items() if name.startswith("test_")]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="newapi-client-") as directory:
        house = house_of(os.path.abspath(sys.argv[1]), directory)
        try:
            for name, test in [*tests, ("audit", Server.audit)]:
                try:
                    test(house)
                    print(f"ok      {name}")
                except Exception:
                    failed += 1
                    print(f"FAILED  {name}")
                    traceback.print_exc(file=sys.stdout)
            if failed:
                with open(house.log, encoding="utf-8") as log:
                    print("--- log ---", log.read()[-4000:], sep="\n")
        finally:
            house.stop()
    print(f"{len(tests) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0
