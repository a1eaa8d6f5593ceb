"""Calls newapi with the openai package, against its own trial upstream, and checks the bill.

Usage: test_openai.py PATH_OF_NEWAPI. Prints "N passed, 0 failed".
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

import openai

ROOT_TOKEN = "root-access-token-of-the-openai-test"
START = 10_000
# What the trial upstream counts for every answer, at one quota a token.
CHARGE = 20 + 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class House:
    """A server, its upstream, a user with a key and a priced model."""

    def __init__(self, newapi, directory):
        self.port, upstream_port = free_port(), free_port()
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "DATA_DIR": directory,
            "PORT": str(self.port),
            "LISTEN_ADDR": "127.0.0.1",
            "ENABLE_METRICS": "false",
            "UPSTREAM_ALLOW_NETS": "127.0.0.0/8",
            "ROOT_ACCESS_TOKEN": ROOT_TOKEN,
            "ROOT_PASSWORD": "a password for the openai test",
            "LOG_FILE": os.path.join(directory, "newapi.log"),
        }
        self.newapi, self.environment, self.directory = newapi, environment, directory
        self.processes = [
            self.start("mock-upstream", "--port", str(upstream_port)),
            self.start("serve"),
        ]
        self.wait_until_ready()
        self.set_up(f"http://127.0.0.1:{upstream_port}")

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

    def api(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {ROOT_TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]

    def set_up(self, upstream):
        self.api("POST", "/api/channel", {
            "name": "trial", "type": 52, "base_url": upstream, "key": "trial-key",
            "models": ["trial-chat", "trial-free"], "groups": ["default"],
        })
        price = {"model_name": "trial-chat", "channel_type": 52, "ratio": 1, "completion_ratio": 1}
        self.api("POST", "/api/ability", price)
        user = {"username": "ann", "password": "a good password", "quota": START}
        self.user_id = self.api("POST", "/api/user", user)["id"]
        token = {"user_id": self.user_id, "name": "k", "unlimited_quota": True, "expired_time": -1}
        self.key = self.api("POST", "/api/token", token)["key"]

    def client(self, key=None):
        base_url = f"http://127.0.0.1:{self.port}/v1"
        return openai.OpenAI(api_key=key or self.key, base_url=base_url, max_retries=0)

    def used(self):
        return self.api("GET", f"/api/user/{self.user_id}")["used_quota"]

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


MESSAGES = [{"role": "user", "content": "Say hello."}]


def test_models_list(house):
    assert [model.id for model in house.client().models.list()] == ["trial-chat", "trial-free"]


def test_model_retrieve(house):
    assert house.client().models.retrieve("trial-chat").id == "trial-chat"


def test_chat_completion(house):
    before = house.used()
    answer = house.client().chat.completions.create(model="trial-chat", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello from the trial upstream."
    assert answer.usage.total_tokens == CHARGE
    assert house.used() - before == CHARGE


def test_charge_is_told_in_a_header(house):
    raw = house.client().chat.completions.with_raw_response
    answer = raw.create(model="trial-chat", messages=MESSAGES)
    assert answer.headers["X-Newapi-Quota"] == str(CHARGE)
    assert answer.headers["X-Request-Id"]


def test_stream_with_usage(house):
    before = house.used()
    stream = house.client().chat.completions.create(
        model="trial-chat", messages=MESSAGES, stream=True,
        stream_options={"include_usage": True},
    )
    words, usage = [], None
    for chunk in stream:
        words += [choice.delta.content or "" for choice in chunk.choices]
        usage = chunk.usage or usage
    assert "".join(words) == "Hello from the trial upstream."
    assert usage.total_tokens == CHARGE
    # Settled before the end was seen, so the balance is right at once.
    assert house.used() - before == CHARGE


def test_free_model(house):
    before = house.used()
    house.client().chat.completions.create(model="trial-free", messages=MESSAGES)
    assert house.used() == before


def test_async_client(house):
    import asyncio

    async def ask():
        base_url = f"http://127.0.0.1:{house.port}/v1"
        client = openai.AsyncOpenAI(api_key=house.key, base_url=base_url, max_retries=0)
        create = client.chat.completions.create
        asked = [create(model="trial-chat", messages=MESSAGES) for _ in range(10)]
        return await asyncio.gather(*asked)

    before = house.used()
    assert len(asyncio.run(ask())) == 10
    assert house.used() - before == 10 * CHARGE


def test_wrong_key(house):
    try:
        house.client("sk-wrong").chat.completions.create(model="trial-chat", messages=MESSAGES)
    except openai.AuthenticationError as error:
        assert error.code == "AUTH_ERROR", error
    else:
        raise AssertionError("a wrong key was served")


def test_unknown_model(house):
    try:
        house.client().chat.completions.create(model="no-such-model", messages=MESSAGES)
    except openai.APIStatusError as error:
        assert (error.status_code, error.code) == (503, "NO_CHANNEL"), error
    else:
        raise AssertionError("an unknown model was served")


def test_upstream_failure_is_passed_on_and_free(house):
    before = house.used()
    try:
        house.client().chat.completions.create(
            model="trial-chat", messages=MESSAGES, extra_query={"status": "429"},
        )
    except openai.RateLimitError as error:
        assert error.code == "trial_error", error
    else:
        raise AssertionError("the failure was lost")
    assert house.used() == before


def test_not_enough_balance(house):
    poor = house.api("POST", "/api/user", {"username": "bob", "password": "a good password"})
    token = {"user_id": poor["id"], "name": "k", "unlimited_quota": True, "expired_time": -1}
    key = house.api("POST", "/api/token", token)["key"]
    try:
        house.client(key).chat.completions.create(model="trial-chat", messages=MESSAGES)
    except openai.APIStatusError as error:
        assert (error.status_code, error.code) == (402, "INSUFFICIENT_QUOTA"), error
        assert re.search(r"余额不足.*\(.*\)", str(error)), error
    else:
        raise AssertionError("served without a balance")


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = 0
    print(f"openai {openai.__version__}")
    with tempfile.TemporaryDirectory(prefix="newapi-openai-") as directory:
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
