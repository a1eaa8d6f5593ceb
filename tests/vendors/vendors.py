"""What the scripted vendors answer, in the words of their documentation."""

import json

from strict_vendor import Refused, Vendor, events

FILE = {"id": "file-1", "object": "file", "bytes": 9, "created_at": 1, "filename": "a.jsonl",
        "purpose": "batch", "status": "processed"}
BATCH = {"id": "batch-1", "object": "batch", "endpoint": "/v1/chat/completions", "created_at": 1,
         "input_file_id": "file-1", "completion_window": "24h", "status": "completed",
         "output_file_id": "file-2"}


def chat_chunk(delta, usage=None, finish=None):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt",
            "choices": choices, "usage": usage}


CHAT_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def chat(request):
    asked = request.json()
    if asked["model"] not in ("gpt", "gpt-az"):
        raise Refused(404, f"no model {asked['model']}")
    if asked.get("stream"):
        with_usage = (asked.get("stream_options") or {}).get("include_usage")
        chunks = [chat_chunk({"role": "assistant", "content": "Hel"}),
                  chat_chunk({"content": "lo"}, finish="stop")]
        chunks += [chat_chunk(None, CHAT_USAGE)] if with_usage else []
        return events(*chunks, done="[DONE]")
    message = {"role": "assistant", "content": "Hello"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": CHAT_USAGE}


def azure_chat(request):
    # The deployment is the model; a body may name it again.
    body = request.json()
    body.setdefault("model", "gpt-az")
    request.json = lambda: body
    return chat(request)


RESPONSE_USAGE = {"input_tokens": 7, "output_tokens": 4, "total_tokens": 11,
                  "input_tokens_details": {"cached_tokens": 0},
                  "output_tokens_details": {"reasoning_tokens": 0}}


def response(id):
    content = [{"type": "output_text", "text": "Hello", "annotations": []}]
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
               "content": content}
    return {"id": id, "object": "response", "created_at": 1, "model": "gpt", "output": [message],
            "status": "completed", "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "usage": RESPONSE_USAGE}


def responses(request):
    asked = request.json()
    if asked.get("previous_response_id") not in (None, "resp-1"):
        raise Refused(404, "no such response")
    if asked.get("stream"):
        delta = {"type": "response.output_text.delta", "delta": "Hello", "item_id": "m",
                 "output_index": 0, "content_index": 0, "sequence_number": 0, "logprobs": []}
        done = {"type": "response.completed", "response": response("resp-2"), "sequence_number": 1}
        return events(delta, done, named=True)
    return response("resp-1")


def embeddings(request):
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
    return {"object": "list", "data": [vector], "model": "emb",
            "usage": {"prompt_tokens": 3, "total_tokens": 3}}


def video(status):
    return {"id": "video_1", "object": "video", "model": "sora-2", "status": status,
            "progress": 100 if status == "completed" else 0, "created_at": 1, "seconds": "4",
            "size": "720x1280"}


def conversation_items(_):
    text = [{"type": "input_text", "text": "Hello"}]
    item = {"id": "msg_1", "type": "message", "role": "user", "status": "completed",
            "content": text}
    return {"object": "list", "data": [item], "first_id": "msg_1", "last_id": "msg_1",
            "has_more": False}


def one_item(_):
    return conversation_items(_)["data"][0]


CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
CONTAINER = {"id": "cntr_1", "object": "container", "created_at": 1, "name": "c",
             "status": "running"}
CONTAINER_FILE = {"id": "cfile_1", "object": "container.file", "bytes": 5, "created_at": 1,
                  "container_id": "cntr_1", "path": "/mnt/data/a", "source": "user"}
UPLOAD = {"id": "upload_1", "object": "upload", "bytes": 5, "created_at": 1, "expires_at": 2,
          "filename": "a.jsonl", "purpose": "batch", "status": "pending"}
STORE = {"id": "vs_1", "object": "vector_store", "created_at": 1, "name": "s", "usage_bytes": 0,
         "status": "completed", "metadata": {}, "last_active_at": 1,
         "file_counts": {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1}}
FILE_BATCH = {"id": "vsfb_1", "object": "vector_store.files_batch", "created_at": 1,
              "vector_store_id": "vs_1", "status": "completed",
              "file_counts": STORE["file_counts"]}
UPLOADED = {**FILE, "id": "file-3"}


def completed(request):
    if request.json() != {"part_ids": ["part_1"]}:
        raise Refused(400, f"not its parts: {request.body}")
    return {**UPLOAD, "status": "completed", "file": UPLOADED}


def kept_by_openai():
    """What OpenAI keeps for later calls."""
    conversation, container = "/v1/conversations/conv_1", "/v1/containers/cntr_1"
    upload, store = "/v1/uploads/upload_1", "/v1/vector_stores/vs_1"
    listed = {"object": "list", "data": [CONTAINER_FILE], "has_more": False,
              "first_id": "cfile_1", "last_id": "cfile_1"}
    return {
        ("POST", "/v1/conversations"): lambda _: CONVERSATION,
        ("GET", conversation): lambda _: CONVERSATION,
        ("POST", conversation): lambda _: CONVERSATION,
        ("DELETE", conversation): lambda _: {
            "id": "conv_1", "object": "conversation.deleted", "deleted": True},
        ("POST", f"{conversation}/items"): conversation_items,
        ("GET", f"{conversation}/items"): conversation_items,
        ("GET", f"{conversation}/items/msg_1"): one_item,
        ("DELETE", f"{conversation}/items/msg_1"): lambda _: CONVERSATION,
        ("POST", "/v1/containers"): lambda _: CONTAINER,
        ("GET", container): lambda _: CONTAINER,
        ("DELETE", container): lambda _: {},
        ("POST", f"{container}/files"): lambda _: CONTAINER_FILE,
        ("GET", f"{container}/files"): lambda _: listed,
        ("GET", f"{container}/files/cfile_1"): lambda _: CONTAINER_FILE,
        ("GET", f"{container}/files/cfile_1/content"): lambda _: b"hello",
        ("DELETE", f"{container}/files/cfile_1"): lambda _: {},
        ("POST", "/v1/uploads"): lambda _: UPLOAD,
        ("POST", f"{upload}/parts"): lambda _: {
            "id": "part_1", "object": "upload.part", "created_at": 1, "upload_id": "upload_1"},
        ("POST", f"{upload}/complete"): completed,
        ("POST", f"{upload}/cancel"): lambda _: {**UPLOAD, "status": "cancelled"},
        ("GET", "/v1/files/file-3"): lambda _: UPLOADED,
        ("DELETE", "/v1/files/file-3"): lambda _: {
            "id": "file-3", "object": "file", "deleted": True},
        ("POST", "/v1/vector_stores"): lambda _: STORE,
        ("DELETE", store): lambda _: {
            "id": "vs_1", "object": "vector_store.deleted", "deleted": True},
        ("POST", f"{store}/file_batches"): lambda _: FILE_BATCH,
        ("GET", f"{store}/file_batches/vsfb_1"): lambda _: FILE_BATCH,
        ("GET", f"{store}/file_batches/vsfb_1/files"): lambda _: {
            "object": "list", "data": [], "has_more": False},
        ("POST", f"{store}/file_batches/vsfb_1/cancel"): lambda _: FILE_BATCH,
    }


def openai():
    return Vendor("authorization", "Bearer up-openai", set(), kept_by_openai() | {
        ("POST", "/v1/chat/completions"): chat,
        ("POST", "/v1/responses"): responses,
        ("GET", "/v1/responses/resp-1"): lambda _: response("resp-1"),
        ("DELETE", "/v1/responses/resp-1"): lambda _: {"id": "resp-1", "deleted": True},
        ("POST", "/v1/embeddings"): embeddings,
        ("POST", "/v1/images/generations"): lambda _: {"created": 1, "data": [{"url": "x"}]},
        ("POST", "/v1/audio/speech"): lambda _: b"RIFF",
        ("POST", "/v1/audio/transcriptions"): lambda _: {
            "text": "Hello", "usage": {"type": "duration", "seconds": 3}},
        ("POST", "/v1/moderations"): lambda _: {"id": "m", "model": "omni-moderation-latest",
                                                "results": [{"flagged": False}]},
        ("POST", "/v1/files"): lambda _: FILE,
        ("GET", "/v1/files/file-1"): lambda _: FILE,
        ("DELETE", "/v1/files/file-1"): lambda _: {
            "id": "file-1", "object": "file", "deleted": True},
        ("GET", "/v1/files/file-2/content"): lambda _: b'{"custom_id":"1"}\n',
        ("POST", "/v1/batches"): lambda _: BATCH,
        ("GET", "/v1/batches/batch-1"): lambda _: BATCH,
        ("POST", "/v1/videos"): lambda _: video("queued"),
        ("GET", "/v1/videos/video_1"): lambda _: video("completed"),
        ("GET", "/v1/videos/video_1/content"): lambda _: b"MP4",
    })


def azure_transcription(request):
    # The form is passed on as it came, the name of the deployment with it.
    if b'name="file"' not in request.body or b"RIFF" not in request.body:
        raise Refused(400, "no file")
    return {"text": "Hello", "usage": {"type": "duration", "seconds": 3}}


def azure():
    def at(name, path):
        return "POST", f"/openai/deployments/{name}/{path}"

    version = frozenset({"api-version"})
    return Vendor("api-key", "up-azure", version, needs=version, routes={
        at("gpt-az", "chat/completions"): azure_chat,
        at("gpt-az", "embeddings"): embeddings,
        at("img-az", "images/generations"): lambda _: {"created": 1, "data": [{"url": "x"}]},
        at("tts-az", "audio/speech"): lambda _: b"RIFF",
        at("whisper-az", "audio/transcriptions"): azure_transcription,
    })


def message(request):
    if not request.headers.get("anthropic-version"):
        raise Refused(400, "anthropic-version: header is required")
    usage = {"input_tokens": 12, "output_tokens": 6, "cache_read_input_tokens": 0,
             "cache_creation_input_tokens": 0}
    base = {"id": "msg", "type": "message", "role": "assistant", "model": "claude",
            "stop_reason": None, "stop_sequence": None, "content": []}
    if not request.json().get("stream"):
        text = {"type": "text", "text": "Hello"}
        return {**base, "content": [text], "stop_reason": "end_turn", "usage": usage}
    begin = {"type": "message_start", "message": {**base, "usage": {**usage, "output_tokens": 1}}}
    block = {"type": "content_block_start", "index": 0,
             "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0,
             "delta": {"type": "text_delta", "text": "Hello"}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
           "usage": {"output_tokens": 6}}
    return events(begin, block, delta, {"type": "content_block_stop", "index": 0}, end,
                  {"type": "message_stop"}, named=True)


BATCH_PATH = "/v1/messages/batches/msgbatch_1"


def message_batch(status):
    counts = {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0}
    url = f"https://api.anthropic.com{BATCH_PATH}/results" if status == "ended" else None
    return {"id": "msgbatch_1", "type": "message_batch", "processing_status": status,
            "request_counts": counts, "created_at": "2026-11-29T10:00:00Z",
            "expires_at": "2026-11-30T10:00:00Z", "results_url": url}


def make_message_batch(request):
    for one in request.json()["requests"]:
        if one["params"]["model"] != "claude":
            raise Refused(404, f"no model {one['params']['model']}")
    return message_batch("in_progress")


def batch_results(_):
    usage = {"input_tokens": 100, "output_tokens": 6}
    text = {"type": "text", "text": "Hello"}
    one = {"id": "msg", "type": "message", "role": "assistant", "model": "claude",
           "stop_reason": "end_turn", "stop_sequence": None, "content": [text], "usage": usage}
    lines = [{"custom_id": id, "result": {"type": "succeeded", "message": one}} for id in "ab"]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def anthropic():
    return Vendor("x-api-key", "up-anthropic", {"beta"}, {
        ("POST", "/v1/messages"): message,
        ("POST", "/v1/messages/batches"): make_message_batch,
        ("GET", BATCH_PATH): lambda _: message_batch("ended"),
        ("GET", f"{BATCH_PATH}/results"): batch_results,
        ("POST", f"{BATCH_PATH}/cancel"): lambda _: message_batch("ended"),
        ("DELETE", BATCH_PATH): lambda _: {"id": "msgbatch_1", "type": "message_batch_deleted"},
        ("POST", "/v1/messages/count_tokens"): lambda _: {"input_tokens": 12},
    })


def candidate(usage=True):
    content = {"role": "model", "parts": [{"text": "Hello"}]}
    reply = {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
             "modelVersion": "gemini"}
    counts = {"promptTokenCount": 8, "candidatesTokenCount": 2, "thoughtsTokenCount": 3,
              "totalTokenCount": 13}
    return {**reply, "usageMetadata": counts} if usage else reply


def gemini_stream(request):
    if request.query.get("alt") != ["sse"]:
        return [candidate()]
    return events(candidate(usage=False), candidate())


CACHE = {"name": "cachedContents/c1", "model": "models/gemini", "displayName": "",
         "createTime": "2026-11-29T10:00:00Z", "expireTime": "2026-11-29T11:00:00Z",
         "usageMetadata": {"totalTokenCount": 100}}
GEMINI_FILE = {"name": "files/f1", "mimeType": "text/plain", "sizeBytes": "5", "state": "ACTIVE",
               "uri": "https://generativelanguage.googleapis.com/v1beta/files/f1"}
OPERATION = "models/veo/operations/o1"
FILM = "https://generativelanguage.googleapis.com/v1beta/files/f2:download?alt=media"


def cache(request):
    asked = request.json()
    if asked["model"] != "models/gemini":
        raise Refused(404, f"no model {asked['model']}")
    if asked.get("ttl") not in (None, "600s", "3600s"):
        raise Refused(400, f"ttl is {asked['ttl']}")
    return CACHE


def longer(request):
    if request.query.get("updateMask") not in (None, ["ttl"]) or request.json() != {"ttl": "600s"}:
        raise Refused(400, f"not an update: {request.query} {request.body}")
    return CACHE


def upload(request):
    if request.headers.get("x-goog-upload-command") == "start":
        go_on = "https://generativelanguage.googleapis.com/upload/v1/files" \
                "?upload_id=U1&upload_protocol=resumable"
        return {}, {"x-goog-upload-url": go_on, "x-goog-upload-status": "active"}
    if request.query:
        if request.query["upload_id"] != ["U1"] or request.body != b"hello":
            raise Refused(404, f"no upload {request.query} of {request.body}")
        return {"file": GEMINI_FILE}, {"x-goog-upload-status": "final"}
    if not request.headers["content-type"].startswith("multipart/related"):
        raise Refused(400, f"not an upload: {request.headers}")
    return {"file": GEMINI_FILE}


def gemini():
    calls = {
        "generateContent": lambda _: candidate(),
        "streamGenerateContent": gemini_stream,
        "countTokens": lambda _: {"totalTokens": 8},
    }
    routes = {
        ("POST", f"/{version}/models/gemini:{call}"): answer
        for version in ["v1", "v1beta"] for call, answer in calls.items()
    }
    films = {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": FILM}}]}}
    done = {"name": OPERATION, "done": True, "response": films}
    kept = {
        ("POST", "/cachedContents"): cache,
        ("GET", "/cachedContents/c1"): lambda _: CACHE,
        ("PATCH", "/cachedContents/c1"): longer,
        ("DELETE", "/cachedContents/c1"): lambda _: {},
        ("GET", "/files/f1"): lambda _: GEMINI_FILE,
        ("DELETE", "/files/f1"): lambda _: {},
        ("POST", "/models/veo:predictLongRunning"): lambda _: {"name": OPERATION},
        ("GET", f"/{OPERATION}"): lambda _: done,
        ("GET", "/files/f2:download"): lambda _: b"MP4",
    }
    for version in ["v1", "v1beta"]:
        routes[("POST", f"/upload/{version}/files")] = upload
        routes |= {(method, f"/{version}{path}"): it for (method, path), it in kept.items()}
    return Vendor("x-goog-api-key", "up-gemini", {"alt", "updateMask", "upload_id", "upload_protocol"},
                  routes)


def cohere_chat(request):
    usage = {"billed_units": {"input_tokens": 5, "output_tokens": 4},
             "tokens": {"input_tokens": 70, "output_tokens": 4}}
    if not request.json().get("stream"):
        text = [{"type": "text", "text": "Hello"}]
        return {"id": "c", "finish_reason": "COMPLETE", "usage": usage,
                "message": {"role": "assistant", "content": text}}
    delta = {"type": "content-delta", "index": 0,
             "delta": {"message": {"content": {"text": "Hello"}}}}
    end = {"type": "message-end", "id": "c",
           "delta": {"finish_reason": "COMPLETE", "usage": usage}}
    return events(delta, end, named=True)


def cohere():
    return Vendor("authorization", "Bearer up-cohere", set(), {
        ("POST", "/v2/chat"): cohere_chat,
        ("POST", "/v2/rerank"): lambda _: {
            "id": "r", "results": [{"index": 0, "relevance_score": 0.9}],
            "meta": {"billed_units": {"search_units": 1}}},
        ("POST", "/v2/embed"): lambda _: {
            "id": "e", "embeddings": {"float": [[0.5]]}, "texts": ["hi"],
            "meta": {"billed_units": {"input_tokens": 2}}},
    })
