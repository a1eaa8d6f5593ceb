"""What reading costs of the way of a long stream: processor time of newapi, for each stream, by a
document without pointers and by one of forty."""

import json
import statistics
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from targets import CHAT, UPSTREAM_KEY

EVENTS, STREAMS, AT_ONCE, ROUNDS = 6_400, 60, 4, 5
HEAD = """name = "{name}"
title = {{ zh = "{name}", en = "{name}" }}
[auth]
header = "authorization"
value = "Bearer {{key}}"
[[route]]
match = "POST /v1/chat/completions"
model = "body:/model"
"""


def forty():
    """Counts where the events have some, and where they have none; failures in ten places."""
    def ten(first):
        return json.dumps([first] + [f"/usage/{n}/count" for n in range(1, 10)])
    failures = ", ".join(f'{{ at = "/choices/*/failure_{n}" }}' for n in range(10))
    return (f"[outcome]\nfailed = [{failures}]\n[usage.meters]\n"
            f"input = {ten('/usage/prompt_tokens')}\noutput = {ten('/usage/completion_tokens')}\n"
            f"cached = {ten('/usage/cached')}\n")


def set_up(server):
    for name, rest in (("none", ""), ("forty", forty())):
        server.call("/api/protocol", {"document": HEAD.format(name=name) + rest})
        server.call("/api/channel", {
            "name": name, "protocol": name, "base_url": f"http://{server.stub.address}",
            "key": UPSTREAM_KEY, "models": [name], "groups": ["default"]})
        server.call("/api/ability", {"model_name": name, "channel_type": 52, "fixed_quota": 5})


def stream(server, model):
    body = json.dumps({"model": model, "stream": True, "messages": [
        {"role": "user", "content": "Hello"}]}).encode()
    request = urllib.request.Request(
        f"{server.base}{CHAT}?events={EVENTS}", body,
        {"Authorization": f"Bearer {server.keys[0]}", "Content-Type": "application/json"})
    size = 0
    with urllib.request.urlopen(request, timeout=60) as reply:
        while part := reply.read(1 << 16):
            size += len(part)
    return size


def cost(server, model):
    """Processor time of a stream in ms, and its bytes."""
    before = server.process.cpu_ms()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = list(pool.map(lambda _: stream(server, model), range(STREAMS)))
    return (server.process.cpu_ms() - before) / STREAMS, min(sizes)


def reading(bench):
    bench.title("Reading a stream of 1 MiB")
    server = bench.start_newapi("sqlite-reading", bench.stub)
    set_up(server)
    cost(server, "none")
    found = {"none": [], "forty": []}
    for _ in range(ROUNDS):
        for model, costs in found.items():
            costs.append(cost(server, model))
    size = found["none"][0][1]
    rows, base = [], statistics.median(ms for ms, _ in found["none"])
    for model, costs in found.items():
        ms = sorted(ms for ms, _ in costs)
        middle = statistics.median(ms)
        rows.append([model, f"{middle:.2f} ms", f"{ms[0]:.2f}–{ms[-1]:.2f}",
                     f"{(middle / base - 1) * 100:.1f} %"])
    bench.line(f"{EVENTS} events, {size} bytes; {STREAMS} streams a round, {AT_ONCE} at once.")
    bench.table(["document", "processor time a stream", "range", "above none"], rows)
    bench.end(server)
