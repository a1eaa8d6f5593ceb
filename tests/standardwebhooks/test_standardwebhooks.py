"""Lets newapi deliver a webhook, and checks it with the standardwebhooks package.

Usage: test_standardwebhooks.py PATH_OF_NEWAPI. Prints "N passed, 0 failed".
"""

import http.server
import json
import os
import queue
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import uuid

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

ROOT_TOKEN = "root-access-token-of-the-webhook-test"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what arrives."""

    arrived = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.arrived.put((body, dict(self.headers)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class House:
    """A server, a receiver, and a user with an endpoint there."""

    def __init__(self, newapi, directory):
        self.port = free_port()
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "DATA_DIR": directory,
            "PORT": str(self.port),
            "LISTEN_ADDR": "127.0.0.1",
            "ENABLE_METRICS": "false",
            "WEBHOOK_ALLOW_NETS": "127.0.0.0/8",
            "ROOT_ACCESS_TOKEN": ROOT_TOKEN,
            "ROOT_PASSWORD": "a password for the webhook test",
            "LOG_FILE": os.path.join(directory, "newapi.log"),
        }
        self.newapi, self.directory = newapi, directory
        self.server = subprocess.Popen(
            [newapi, "serve"], env=self.environment, stdout=subprocess.DEVNULL,
        )
        self.wait_until_ready()
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        user = {"username": "ann", "password": "a good password"}
        self.user_id = self.api("POST", "/api/user", user)["id"]
        url = f"http://127.0.0.1:{self.receiver.server_port}/hook"
        made = self.api("POST", "/api/webhook", {"user_id": self.user_id, "url": url})
        self.endpoint_id, self.secret = made["id"], made["secret"]

    def wait_until_ready(self):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status", timeout=5)
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server did not become ready")

    def api(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ROOT_TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]

    def end_a_task(self):
        """A task that has ended, and its row in the outbox; then what arrives."""
        uid, now = uuid.uuid4().bytes, int(time.time() * 1000)
        with sqlite3.connect(os.path.join(self.directory, "newapi.db"), timeout=20) as database:
            # All times are given: the SQLite of an older Python can't work out their defaults.
            database.execute(
                "INSERT INTO tasks (uid, task_id, user_id, channel_id, action, status, created_at,"
                " updated_at, lifetime_from, finish_time)"
                " VALUES (?, 'up-1', ?, 1, 'img/submit', 'completed', ?, ?, ?, ?)",
                (uid, self.user_id, now, now, now, now),
            )
            database.execute(
                "INSERT INTO webhook_deliveries (endpoint_id, user_id, task_uid, event, due_at,"
                " created_at) VALUES (?, ?, ?, 'task.completed', ?, ?)",
                (self.endpoint_id, self.user_id, uid, now, now),
            )
        database.close()
        return Receiver.arrived.get(timeout=30)

    def audit(self):
        ran = subprocess.run(
            [self.newapi, "audit"], env=self.environment, capture_output=True, text=True,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def stop(self):
        self.server.terminate()
        self.server.wait(timeout=60)
        self.receiver.shutdown()


def refused(secret, body, headers):
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return True
    return False


def test_the_signature(house):
    body, headers = house.end_a_task()
    message = Webhook(house.secret).verify(body, headers)
    assert message["type"] == "task.completed", message
    assert message["data"]["task_id"] == "up-1", message


def test_an_altered_body_is_refused(house):
    body, headers = house.end_a_task()
    assert refused(house.secret, body.replace(b"up-1", b"up-2"), headers)
    assert refused("whsec_" + "A" * 43 + "=", body, headers)


def test_both_secrets_after_a_rotation(house):
    rotated = house.api("POST", f"/api/webhook/{house.endpoint_id}/rotate")["secret"]
    assert rotated != house.secret
    body, headers = house.end_a_task()
    Webhook(rotated).verify(body, headers)
    Webhook(house.secret).verify(body, headers)


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="newapi-webhooks-") as directory:
        house = House(os.path.abspath(sys.argv[1]), directory)
        try:
            for name, test in [*tests, ("audit", House.audit)]:
                try:
                    test(house)
                    print(f"ok      {name}")
                except Exception:
                    failed += 1
                    print(f"FAILED  {name}")
                    traceback.print_exc(file=sys.stdout)
            if failed:
                with open(os.path.join(directory, "newapi.log"), encoding="utf-8") as log:
                    print("--- log ---", log.read()[-4000:], sep="\n")
        finally:
            house.stop()
    print(f"{len(tests) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
