"""Calls newapi with the clients of four vendors, unchanged but for address and key.

Usage: test_vendors.py PATH_OF_NEWAPI. Prints "N passed, 0 failed".
"""

import io
import json
import sys
import time
import urllib.request

import anthropic
import cohere
import openai
import vendors
from google import genai
from google.genai import types
from newapi_server import Server, run

START = 1_000_000
MESSAGES = [{"role": "user", "content": "Say hello."}]
# Models by channel, with what one costs: per call, or one quota a token.
CHANNELS = {
    "openai": {"gpt": None, "emb": None, "img": 50, "tts": 60, "whisper": 70, "files": 0,
               "batches": 80, "sora-2": 500, "omni-moderation-latest": 9, "conversations": 0,
               "containers": 30, "vector-stores": 0},
    "azure": {"gpt-az": None, "img-az": 51, "tts-az": 61, "whisper-az": 71},
    "anthropic": {"claude": None, "claude-batch": None},
    "gemini": {"gemini": None, "files": 0, "veo": 300},
    "cohere": {"command": None, "rerank": 40, "embed": None},
}


class House(Server):
    """A server with a channel to each vendor, and two users with a key each."""

    def __init__(self, newapi, directory):
        super().__init__(newapi, directory, UPSTREAM_ALLOW_NETS="127.0.0.0/8",
                         CUSTOM_PASS_POLL_INTERVAL="1s")
        self.vendors = {name: getattr(vendors, name)() for name in CHANNELS}
        for name, models in CHANNELS.items():
            self.channel(name, models)
        self.user_id, self.key = self.payer("ann")
        _, self.other_key = self.payer("bob")
        self.url = f"http://127.0.0.1:{self.port}"
        self.gemini_clients = {}

    def channel(self, name, models):
        self.api("POST", "/api/channel", {
            "name": name, "type": 52, "base_url": self.vendors[name].url, "key": f"up-{name}",
            "protocol": name, "models": list(models), "groups": ["default"],
        })
        for model, price in models.items():
            cost = {"ratio": 1, "completion_ratio": 1} if price is None else {"fixed_quota": price}
            if price != 0:
                ability = {"model_name": model, "channel_type": 52, **cost}
                self.api("POST", "/api/ability", ability)

    def payer(self, name):
        user = {"username": name, "password": "a good password", "quota": START}
        user_id = self.api("POST", "/api/user", user)["id"]
        token = {"user_id": user_id, "name": "k", "unlimited_quota": True, "expired_time": -1}
        return user_id, self.api("POST", "/api/token", token)["key"]

    def openai(self, key=None):
        base_url = f"{self.url}/v1"
        # Applications that were made for an account of their own name it in each call.
        return openai.OpenAI(api_key=key or self.key, base_url=base_url, max_retries=0,
                             organization="org-own", project="proj_own")

    def azure(self, key=None):
        return openai.AzureOpenAI(api_key=key or self.key, azure_endpoint=self.url,
                                  api_version="2024-10-21", max_retries=0)

    def anthropic(self, key=None):
        key = key or self.key
        return anthropic.Anthropic(api_key=key, base_url=self.url, max_retries=0)

    def gemini(self, key=None):
        # A client that is let go closes the connections of its parts.
        key = key or self.key
        if key not in self.gemini_clients:
            options = types.HttpOptions(base_url=self.url)
            self.gemini_clients[key] = genai.Client(api_key=key, http_options=options)
        return self.gemini_clients[key]

    def cohere(self):
        return cohere.ClientV2(api_key=self.key, base_url=self.url)

    def wait_until_settled(self):
        for _ in range(300):
            if not self.call("GET", "/api/task?status=unfinished")["total"]:
                return
            time.sleep(0.1)
        raise AssertionError("a task was not settled")

    def costs(self, quota):
        return Costs(self, quota)

    def used(self):
        return self.api("GET", f"/api/user/{self.user_id}")["used_quota"]


class Costs:
    """What is done within costs exactly so much."""

    def __init__(self, house, quota):
        self.house, self.quota = house, quota

    def __enter__(self):
        self.before = self.house.used()

    def __exit__(self, failed, *_):
        if not failed:
            cost = self.house.used() - self.before
            assert cost == self.quota, f"cost {cost}, and not {self.quota}"


def test_openai_chat(house):
    with house.costs(15):
        answer = house.openai().chat.completions.create(model="gpt", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello"


def check_no_usage(chunks):
    """The client has not asked for usage: no chunk has any, nor is there the one that has nothing
    else, though the call is charged by it."""
    words = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(words) == "Hello", words
    assert all(chunk.usage is None for chunk in chunks), chunks
    assert all(chunk.choices for chunk in chunks), chunks


def test_openai_chat_stream_without_usage(house):
    with house.costs(15):
        stream = house.openai().chat.completions.create(
            model="gpt", messages=MESSAGES, stream=True)
        check_no_usage(list(stream))


def test_openai_chat_stream_with_usage(house):
    with house.costs(15):
        stream = house.openai().chat.completions.create(
            model="gpt", messages=MESSAGES, stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
    assert chunks[-1].usage.total_tokens == 15


def test_openai_responses(house):
    client = house.openai()
    with house.costs(11):
        first = client.responses.create(model="gpt", input="Hello?")
    assert first.output_text == "Hello"
    with house.costs(11):
        client.responses.create(model="gpt", input="And?", previous_response_id=first.id)
    with house.costs(11):
        *_, last = client.responses.create(model="gpt", input="x", stream=True)
    assert last.response.usage.total_tokens == 11
    other = house.openai(house.other_key)
    for steal in [
        lambda: other.responses.retrieve(first.id),
        lambda: other.responses.create(model="gpt", input="x", previous_response_id=first.id),
    ]:
        try:
            steal()
        except openai.NotFoundError:
            continue
        raise AssertionError("served what another user made")
    with house.costs(0):
        assert client.responses.retrieve(first.id).id == first.id
        client.responses.delete(first.id)


def test_openai_embeddings(house):
    with house.costs(3):
        answer = house.openai().embeddings.create(model="emb", input="hi", encoding_format="float")
    assert answer.data[0].embedding == [0.5, 0.25]


def test_openai_images(house):
    with house.costs(50):
        house.openai().images.generate(model="img", prompt="a cat")


def test_openai_audio(house):
    client = house.openai()
    with house.costs(60):
        speech = client.audio.speech.create(model="tts", voice="alloy", input="Hello")
        assert speech.read() == b"RIFF"
    with house.costs(70):
        sound = ("a.wav", io.BytesIO(b"RIFF"))
        answer = client.audio.transcriptions.create(model="whisper", file=sound)
    assert answer.text == "Hello"


def test_openai_moderations(house):
    with house.costs(9):
        answer = house.openai().moderations.create(input="hi")
    assert not answer.results[0].flagged


def test_openai_files_and_batches(house):
    client = house.openai()
    lines = ("a.jsonl", io.BytesIO(b'{"a":1}\n'))
    with house.costs(0):
        file = client.files.create(file=lines, purpose="batch")
        assert [it.id for it in client.files.list()] == [file.id]
        assert client.files.retrieve(file.id).status == "processed"
    with house.costs(80):
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    with house.costs(0):
        batch = client.batches.retrieve(batch.id)
        assert [it.id for it in client.batches.list()] == [batch.id]
        assert b"custom_id" in client.files.content(batch.output_file_id).read()
        client.files.delete(file.id)
        assert [it.id for it in client.files.list()] == []
    assert not list(house.openai(house.other_key).batches.list())


def refuses_openai(*calls):
    """Each of them is about what another user made."""
    for call in calls:
        try:
            call()
        except openai.NotFoundError:
            continue
        raise AssertionError("served what another user made")


def test_openai_conversations(house):
    mine, others = house.openai().conversations, house.openai(house.other_key).conversations
    hello = {"type": "message", "role": "user", "content": "Hello"}
    with house.costs(0):
        conversation = mine.create(items=[hello])
        mine.update(conversation.id, metadata={"a": "b"})
        assert mine.retrieve(conversation.id).id == conversation.id
        assert mine.items.create(conversation.id, items=[hello]).data[0].id == "msg_1"
        assert [it.id for it in mine.items.list(conversation.id)] == ["msg_1"]
        assert mine.items.retrieve("msg_1", conversation_id=conversation.id).id == "msg_1"
    with house.costs(11):
        house.openai().responses.create(model="gpt", input="x", conversation=conversation.id)
    refuses_openai(
        lambda: others.retrieve(conversation.id),
        lambda: others.items.list(conversation.id),
        lambda: others.items.create(conversation.id, items=[hello]),
        lambda: house.openai(house.other_key).responses.create(
            model="gpt", input="x", conversation=conversation.id))
    with house.costs(0):
        mine.items.delete("msg_1", conversation_id=conversation.id)
        mine.delete(conversation.id)
    refuses_openai(lambda: mine.retrieve(conversation.id))


def test_openai_containers(house):
    mine, others = house.openai().containers, house.openai(house.other_key).containers
    with house.costs(30):
        container = mine.create(name="c")
    with house.costs(0):
        assert [it.id for it in mine.list()] == [container.id]
        assert mine.retrieve(container.id).id == container.id
        file = mine.files.create(container.id, file=("a", io.BytesIO(b"hello")))
        assert [it.id for it in mine.files.list(container.id)] == [file.id]
        assert mine.files.retrieve(file.id, container_id=container.id).id == file.id
        content = mine.files.content.retrieve(file.id, container_id=container.id)
        assert content.read() == b"hello"
    assert not list(others.list())
    refuses_openai(
        lambda: others.retrieve(container.id),
        lambda: others.files.list(container.id),
        lambda: others.files.content.retrieve(file.id, container_id=container.id))
    with house.costs(0):
        mine.files.delete(file.id, container_id=container.id)
        mine.delete(container.id)
    refuses_openai(lambda: mine.retrieve(container.id))


def test_openai_uploads(house):
    client, other = house.openai(), house.openai(house.other_key)
    with house.costs(0):
        upload = client.uploads.create(
            bytes=5, filename="a.jsonl", mime_type="text/jsonl", purpose="batch")
        part = client.uploads.parts.create(upload.id, data=io.BytesIO(b"hello"))
        refuses_openai(lambda: other.uploads.complete(upload.id, part_ids=[part.id]))
        file = client.uploads.complete(upload.id, part_ids=[part.id]).file
        assert [it.id for it in client.files.list()] == [file.id]
        assert client.files.retrieve(file.id).id == file.id
        refuses_openai(lambda: other.files.retrieve(file.id))
        client.files.delete(file.id)
        client.uploads.cancel(upload.id)


def test_openai_file_batches(house):
    client, other = house.openai(), house.openai(house.other_key)
    with house.costs(0):
        file = client.files.create(file=("a.jsonl", io.BytesIO(b"{}")), purpose="assistants")
        store = client.vector_stores.create(name="s")
        batches = client.vector_stores.file_batches
        batch = batches.create(store.id, file_ids=[file.id])
        of = {"vector_store_id": store.id}
        assert batches.retrieve(batch.id, **of).status == "completed"
        assert list(batches.list_files(batch.id, **of)) == []
        batches.cancel(batch.id, **of)
        others = other.vector_stores.file_batches
        refuses_openai(
            lambda: others.create(store.id, file_ids=[file.id]),
            lambda: others.retrieve(batch.id, **of),
            lambda: batches.create(store.id, file_ids=["file-9"]))
        client.vector_stores.delete(store.id)
        client.files.delete(file.id)


def test_openai_videos(house):
    client = house.openai()
    with house.costs(500):
        video = client.videos.create(model="sora-2", prompt="a cat")
        assert video.status == "queued"
        assert client.videos.retrieve(video.id).status == "completed"
        assert client.videos.download_content(video.id).read() == b"MP4"
        assert [it.id for it in client.videos.list()] == [video.id]
        house.wait_until_settled()
    other = house.openai(house.other_key)
    for steal in [other.videos.retrieve, other.videos.download_content]:
        try:
            steal(video.id)
        except openai.NotFoundError:
            continue
        raise AssertionError("served what another user made")
    assert not list(other.videos.list())


def test_openai_unknown_model(house):
    try:
        house.openai().chat.completions.create(model="none", messages=MESSAGES)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model was served")


def test_azure_chat(house):
    with house.costs(15):
        answer = house.azure().chat.completions.create(model="gpt-az", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello"
    with house.costs(15):
        stream = house.azure().chat.completions.create(
            model="gpt-az", messages=MESSAGES, stream=True, stream_options={"include_usage": True})
        assert list(stream)[-1].usage.total_tokens == 15


def test_azure_chat_stream_without_usage(house):
    with house.costs(15):
        stream = house.azure().chat.completions.create(
            model="gpt-az", messages=MESSAGES, stream=True)
        check_no_usage(list(stream))


def test_azure_images_and_sound(house):
    client = house.azure()
    with house.costs(51):
        assert client.images.generate(model="img-az", prompt="a fox").data[0].url == "x"
    with house.costs(61):
        speech = client.audio.speech.create(model="tts-az", voice="alloy", input="hi")
        assert speech.read() == b"RIFF"
    with house.costs(71):
        file = ("a.wav", io.BytesIO(b"RIFF"))
        heard = client.audio.transcriptions.create(model="whisper-az", file=file)
        assert heard.text == "Hello"


def test_azure_other_deployment_or_key(house):
    before = house.used()
    try:
        house.azure().chat.completions.create(model="no-such", messages=MESSAGES)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown deployment was served")
    try:
        house.azure("sk-wrong").chat.completions.create(model="gpt-az", messages=MESSAGES)
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key", error
    else:
        raise AssertionError("a wrong key was served")
    assert house.used() == before


def test_azure_embeddings(house):
    with house.costs(3):
        house.azure().embeddings.create(model="gpt-az", input="hi", encoding_format="float")


def test_anthropic_messages(house):
    ask = {"model": "claude", "max_tokens": 100, "messages": MESSAGES}
    with house.costs(18):
        answer = house.anthropic().messages.create(**ask)
    assert answer.content[0].text == "Hello"
    with house.costs(18), house.anthropic().messages.stream(**ask) as stream:
        assert "".join(stream.text_stream) == "Hello"


def test_anthropic_count_tokens(house):
    with house.costs(0):
        counted = house.anthropic().messages.count_tokens(model="claude", messages=MESSAGES)
    assert counted.input_tokens == 12


def test_anthropic_batches(house):
    batches = house.anthropic().messages.batches
    others = house.anthropic(house.other_key).messages.batches
    ask = {"model": "claude", "max_tokens": 100, "messages": MESSAGES}
    # What the results count, when it has ended.
    with house.costs(212):
        batch = batches.create(requests=[{"custom_id": id, "params": ask} for id in "ab"])
        assert batch.processing_status == "in_progress"
        house.wait_until_settled()
    with house.costs(0):
        assert batches.retrieve(batch.id).processing_status == "ended"
        assert [it.id for it in batches.list()] == [batch.id]
        results = list(batches.results(batch.id))
        assert [it.custom_id for it in results] == ["a", "b"]
        assert results[0].result.message.content[0].text == "Hello"
    assert not list(others.list())
    for steal in [others.retrieve, others.results, others.cancel, others.delete]:
        try:
            steal(batch.id)
        except anthropic.NotFoundError:
            continue
        raise AssertionError("served what another user made")
    with house.costs(0):
        batches.cancel(batch.id)
        batches.delete(batch.id)
    mixed = [{"custom_id": "a", "params": ask}, {"custom_id": "b", "params": {**ask, "model": "x"}}]
    try:
        batches.create(requests=mixed)
    except anthropic.BadRequestError as error:
        assert "one model" in str(error), error
    else:
        raise AssertionError("a batch of two models was served")


def test_anthropic_models(house):
    assert "claude" in [model.id for model in house.anthropic().models.list()]


def test_anthropic_unknown_model(house):
    try:
        house.anthropic().messages.create(model="none", max_tokens=1, messages=MESSAGES)
    except anthropic.NotFoundError as error:
        assert error.body["type"] == "error", error.body
        assert error.body["error"]["type"] == "not_found_error", error.body
    else:
        raise AssertionError("an unknown model was served")


def test_gemini_generate(house):
    models = house.gemini().models
    with house.costs(13):
        answer = models.generate_content(model="gemini", contents="Say hello.")
    assert answer.text == "Hello"
    with house.costs(13):
        pieces = list(models.generate_content_stream(model="gemini", contents="Say hello."))
    assert pieces[-1].usage_metadata.total_token_count == 13


def test_gemini_count_tokens(house):
    with house.costs(0):
        counted = house.gemini().models.count_tokens(model="gemini", contents="Say hello.")
    assert counted.total_tokens == 8


def test_gemini_models(house):
    assert "models/gemini" in [model.name for model in house.gemini().models.list()]


def test_gemini_unknown_model(house):
    try:
        house.gemini().models.generate_content(model="none", contents="x")
    except genai.errors.ClientError as error:
        assert (error.code, error.status) == (404, "NOT_FOUND"), error
    else:
        raise AssertionError("an unknown model was served")


def refuses_gemini(status, call):
    try:
        call()
    except genai.errors.ClientError as error:
        assert error.code == status, error
        return str(error)
    raise AssertionError("served what it may not")


def test_gemini_caches(house):
    caches, others = house.gemini().caches, house.gemini(house.other_key).caches
    config = types.CreateCachedContentConfig(contents="much", ttl="3600s")
    # Its tokens as input, and as storage for an hour, which counts as input here.
    with house.costs(200):
        cache = caches.create(model="gemini", config=config)
    assert cache.name == "cachedContents/c1"
    with house.costs(100):
        caches.update(name=cache.name, config=types.UpdateCachedContentConfig(ttl="600s"))
    with house.costs(0):
        assert caches.get(name=cache.name).usage_metadata.total_token_count == 100
        assert [it.name for it in caches.list()] == [cache.name]
    assert not list(others.list())
    refuses_gemini(404, lambda: others.get(name=cache.name))
    of_cache = types.GenerateContentConfig(cached_content=cache.name)
    with house.costs(13):
        models = house.gemini().models
        models.generate_content(model="gemini", contents="x", config=of_cache)
    models = house.gemini(house.other_key).models
    refuses_gemini(404, lambda: models.generate_content(
        model="gemini", contents="x", config=of_cache))
    day = types.CreateCachedContentConfig(contents="much", ttl="86400s")
    assert "3600s" in refuses_gemini(400, lambda: caches.create(model="gemini", config=day))
    with house.costs(0):
        caches.delete(name=cache.name)
    refuses_gemini(404, lambda: caches.get(name=cache.name))


def test_gemini_files(house):
    files, others = house.gemini().files, house.gemini(house.other_key).files
    text = types.UploadFileConfig(mime_type="text/plain")
    # The package sends the bytes to an address that it is told, and no key with them.
    with house.costs(0):
        file = files.upload(file=io.BytesIO(b"hello"), config=text)
        assert file.name == "files/f1"
        assert files.get(name=file.name).name == file.name
        assert [it.name for it in files.list()] == [file.name]
    assert not list(others.list())
    refuses_gemini(404, lambda: others.get(name=file.name))
    with house.costs(13):
        house.gemini().models.generate_content(model="gemini", contents=[file, "What is it?"])
    refuses_gemini(404, lambda: house.gemini(house.other_key).models.generate_content(
        model="gemini", contents=[file, "What is it?"]))
    with house.costs(0):
        files.delete(name=file.name)
    refuses_gemini(404, lambda: files.get(name=file.name))


def test_gemini_films(house):
    client, other = house.gemini(), house.gemini(house.other_key)
    body = json.dumps({"instances": [{"prompt": "a cat"}]}).encode()
    # This version of the package submits films to Vertex alone; it asks about them here.
    request = urllib.request.Request(
        f"{house.url}/v1/models/veo:predictLongRunning", body, method="POST",
        headers={"x-goog-api-key": house.key, "content-type": "application/json"})
    with house.costs(300):
        name = json.load(urllib.request.urlopen(request))["name"]
        operation = client.operations.get(types.GenerateVideosOperation(name=name))
        assert operation.done
        film = operation.response.generated_videos[0].video
        assert client.files.download(file=film) == b"MP4"
        house.wait_until_settled()
    refuses_gemini(404, lambda: other.operations.get(types.GenerateVideosOperation(name=name)))
    refuses_gemini(404, lambda: other.files.download(file=types.Video(uri=film.uri)))


def test_cohere_chat(house):
    with house.costs(9):
        answer = house.cohere().chat(model="command", messages=MESSAGES)
    assert answer.message.content[0].text == "Hello"
    with house.costs(9):
        *_, last = house.cohere().chat_stream(model="command", messages=MESSAGES)
    assert last.type == "message-end"


def test_cohere_rerank_and_embed(house):
    with house.costs(40):
        house.cohere().rerank(model="rerank", query="q", documents=["a", "b"])
    with house.costs(2):
        house.cohere().embed(model="embed", input_type="search_query", texts=["hi"],
                             embedding_types=["float"])


if __name__ == "__main__":
    packages = [openai, anthropic, genai]
    print(", ".join(f"{it.__name__} {it.__version__}" for it in packages))
    sys.exit(run(House, globals()))
