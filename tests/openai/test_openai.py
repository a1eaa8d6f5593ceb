"""Calls newapi with the openai package, against its own trial upstream, and checks the bill.

Usage: test_openai.py PATH_OF_NEWAPI. Prints "N passed, 0 failed".
"""

import re
import sys

import openai
from newapi_server import Server, free_port, run

START = 10_000
# What the trial upstream counts for every answer, at one quota a token.
CHARGE = 20 + 60


class House(Server):
    """A server, its upstream, a user with a key and a priced model."""

    def __init__(self, newapi, directory):
        upstream_port = free_port()
        upstream = ["mock-upstream", "--port", str(upstream_port)]
        super().__init__(newapi, directory, [upstream], UPSTREAM_ALLOW_NETS="127.0.0.0/8")
        self.set_up(f"http://127.0.0.1:{upstream_port}")

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


def test_stream_without_usage(house):
    before = house.used()
    stream = house.client().chat.completions.create(
        model="trial-chat", messages=MESSAGES, stream=True,
    )
    chunks = list(stream)
    words = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(words) == "Hello from the trial upstream."
    # Neither usage nor the chunk that has nothing else: it was asked for by us alone.
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), chunks
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
        assert error.code == "invalid_api_key", error
    else:
        raise AssertionError("a wrong key was served")


def test_unknown_model(house):
    try:
        house.client().chat.completions.create(model="no-such-model", messages=MESSAGES)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
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
        assert (error.status_code, error.code) == (402, "insufficient_quota"), error
        assert re.search(r"余额不足.*\(.*\)", str(error)), error
    else:
        raise AssertionError("served without a balance")


if __name__ == "__main__":
    print(f"openai {openai.__version__}")
    sys.exit(run(House, globals()))
