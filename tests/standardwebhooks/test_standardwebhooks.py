"""Lets newapi deliver a webhook, and checks it with the standardwebhooks package.

Usage: test_standardwebhooks.py PATH_OF_NEWAPI. Prints "N passed, 0 failed".
"""

import http.server
import os
import queue
import sqlite3
import sys
import threading
import time
import uuid

from newapi_server import Server, run
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

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


class House(Server):
    """A server, a receiver, and a user with an endpoint there."""

    def __init__(self, newapi, directory):
        super().__init__(newapi, directory, WEBHOOK_ALLOW_NETS="127.0.0.0/8")
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        user = {"username": "ann", "password": "a good password"}
        self.user_id = self.api("POST", "/api/user", user)["id"]
        url = f"http://127.0.0.1:{self.receiver.server_port}/hook"
        made = self.api("POST", "/api/webhook", {"user_id": self.user_id, "url": url})
        self.endpoint_id, self.secret = made["id"], made["secret"]

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

    def stop(self):
        super().stop()
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


if __name__ == "__main__":
    sys.exit(run(House, globals()))
