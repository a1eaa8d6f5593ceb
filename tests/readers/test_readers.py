"""What was paid for is what readers in Go, Python and Node read, or the server refuses.

Usage: test_readers.py PATH_OF_NEWAPI. Prints "N passed, 0 failed".
"""

import gzip
import http.client
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from newapi_server import Server, free_port, run

READERS = os.environ["READERS_DIR"]
CHEAP, DEAR = 1, 1000
# What one model costs more for, by the size that its request names.
BIG = [{"at": "body:/size", "is": "big", "factor": DEAR}]
JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
PATH = "/v1/chat/completions"


def commands(port):
    return {
        "go": [os.path.join(READERS, "reader-go"), port],
        "flask": [sys.executable, os.path.join(READERS, "reader.py"), port],
        "express": ["node", os.path.join(READERS, "reader.js"), port],
    }


class Readers(Server):
    """A server, and one channel to each reader, in a group of its own."""

    def __init__(self, newapi, directory):
        self.ports, self.readers, self.keys = {}, [], {}
        for name in commands(""):
            self.ports[name] = free_port()
            command = commands(str(self.ports[name]))[name]
            self.readers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        super().__init__(newapi, directory, UPSTREAM_ALLOW_NETS="127.0.0.0/8")
        for model, quota, tiers in (("cheap", CHEAP, []), ("dear", DEAR, []), ("sized", CHEAP, BIG)):
            price = {"model_name": model, "channel_type": 52, "fixed_quota": quota, "tiers": tiers}
            self.api("POST", "/api/ability", price)
        for name, port in self.ports.items():
            self.set_up(name, port)

    def set_up(self, name, port):
        self.api("POST", "/api/channel", {
            "name": name, "type": 52, "base_url": f"http://127.0.0.1:{port}", "key": "k",
            "models": ["cheap", "dear", "sized"], "groups": [name],
        })
        user = {"username": name, "password": "a good password", "quota": 10**9, "group": name}
        user_id = self.api("POST", "/api/user", user)["id"]
        token = {"user_id": user_id, "name": "k", "unlimited_quota": True, "expired_time": -1}
        self.keys[name] = self.api("POST", "/api/token", token)["key"]
        for _ in range(600):
            try:
                if send(port, [("Content-Type", JSON)], b'{"model":"x"}')[1]["model"] == "x":
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"the reader {name} did not become ready")

    def stop(self):
        super().stop()
        for reader in self.readers:
            reader.kill()
            reader.wait()


def send(port, headers, body, query=""):
    """Sends these bytes; the status, the answer as JSON and its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", PATH + query, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    try:
        return answer.status, json.loads(text), answer.headers
    except ValueError:
        return answer.status, {"model": None, "text": text.decode(errors="replace")}, answer.headers


def part(headers, value):
    return f"--b\r\n{headers}\r\n\r\n{value}\r\n"


def named(name, value):
    return part(f"Content-Disposition: form-data; {name}", value)


def form(*parts):
    return ("".join(parts) + "--b--\r\n").encode()


CHEAP_PART = named('name="model"', "cheap")
CHEAP_FORM = form(CHEAP_PART)
DEAR_FORM = form(named('name="model"', "dear"))
CHEAP_JSON = b'{"model":"cheap"}'


def two_forms(evil):
    """A form that is cheap by the boundary `b`, and dear by the boundary `evil`."""
    dear = f'\r\n--{evil}\r\nContent-Disposition: form-data; name="model"\r\n\r\ndear\r\n--{evil}--\r\n'
    return form(CHEAP_PART, named('name="x"', dear))


def typed(kind):
    return [("Content-Type", kind)]


def gzipped(comment, plain):
    """A gzip file with a comment, which reads as text to what does not decompress."""
    file = bytearray(gzip.compress(plain))
    file[3] = 0x10
    return bytes(file[:10]) + comment + b"\0" + bytes(file[10:])


# In UTF-7 the members after the first quote of `a` are `"a":"","model":"dear"`.
UTF_7 = b'{"model":"cheap","a":"+ACIALAAi-model+ACIAOgAi-dear"}'

# name: headers, body, query
HOSTILE = {
    "boundary*": (typed(f"{FORM}; boundary*=us-ascii''evil"), two_forms("evil"), ""),
    "boundary* first": (
        typed("multipart/form-data; boundary*=us-ascii''evil; boundary=b"), two_forms("evil"), ""),
    "boundary*0": (typed(f"{FORM}; boundary*0=ev; boundary*1=il"), two_forms("evil"), ""),
    "two boundaries": (typed(f"{FORM}; boundary=evil"), two_forms("evil"), ""),
    "boundary/evil": (typed("multipart/form-data; boundary=b/evil"), two_forms("b"), ""),
    "JSON as a form": (
        typed("application/x-www-form-urlencoded"), b'{"model":"cheap","a":"&model=dear&b="}', ""),
    "JSON in UTF-7": (typed(f"{JSON}; charset=utf-7"), UTF_7, ""),
    "JSON in UTF-16": (
        typed(f"{JSON}; charset=utf-16le"), '{"model":"dear"}'.encode("utf-16le"), ""),
    "JSON with a mark": (typed(JSON), b"\xef\xbb\xbf" + CHEAP_JSON, ""),
    "text/plain": (typed("text/plain"), b'{"model":"dear"}', ""),
    "no type": ([], CHEAP_JSON, ""),
    "two types": (typed(JSON) + typed(FORM), CHEAP_JSON, ""),
    "two types, reversed": (typed(FORM) + typed(JSON), CHEAP_FORM, ""),
    "model in the query": (typed(FORM), CHEAP_FORM, "?model=dear"),
    "model in the query of JSON": (typed(JSON), CHEAP_JSON, "?model=dear"),
    "model twice": (typed(JSON), b'{"model":"cheap","model":"dear"}', ""),
    "Model": (typed(JSON), b'{"model":"cheap","MODEL":"dear"}', ""),
    "escaped": (typed(JSON), b'{"model":"cheap","\\u006dodel":"dear"}', ""),
    "size twice": (typed(JSON), b'{"model":"sized","size":"small","size":"big"}', ""),
    "Size": (typed(JSON), b'{"model":"sized","size":"small","Size":"big"}', ""),
    "size, folded": (typed(JSON), '{"model":"sized","size":"small","ſize":"big"}'.encode(), ""),
    "size, folded and escaped": (
        typed(JSON), b'{"model":"sized","size":"small","\\u017fize":"big"}', ""),
    "[size]": (typed(JSON), b'{"model":"sized","size":"small","[size]":"big"}', ""),
    "[size] of a form": (
        typed(FORM),
        form(named('name="model"', "sized"), named('name="size"', "small"),
             named('name="[size]"', "big")), ""),
    "two documents": (typed(JSON), b'{"model":"cheap"} {"model":"dear"}', ""),
    "gzip with a comment": (
        typed(FORM) + [("Content-Encoding", "gzip")],
        gzipped(b"\r\n" + DEAR_FORM, CHEAP_FORM), ""),
    "gzip of JSON": (
        typed(JSON) + [("Content-Encoding", "gzip")], gzip.compress(CHEAP_JSON), ""),
    "two codings": (
        typed(JSON) + [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")],
        CHEAP_JSON, ""),
    "preamble": (typed(FORM), b"x\r\n" + CHEAP_FORM, ""),
    "epilogue": (typed(FORM), CHEAP_FORM + DEAR_FORM, ""),
    "bare line feeds": (
        typed(FORM), DEAR_FORM.replace(b"\r\n", b"\n") + CHEAP_FORM, ""),
    "delimiter after a line feed": (
        typed(FORM),
        form(named('name="x"', f'\n--b\nContent-Disposition: form-data; name="model"\n\ndear'),
             CHEAP_PART), ""),
}
for spelling in (
    'name*0="mod"; name*1="el"', "name*=us-ascii''model", 'name="mod\\el"', 'name="Model"',
    'name="model[]"', 'name="model[x]"', 'name="[model]"', 'name=" model"', 'name="mod%65l"', 'name="model"',
    'name="model"; filename="x"', 'x="; name=model"; name="other"',
    'name="other"; name="model"', 'filename="; name=model"; name="other"', 'name =model',
    'name="x\\"; name=\\"model"', 'name="=?utf-8?B?bW9kZWw=?="',
):
    dear = named(spelling, "dear")
    HOSTILE[f"{spelling} before"] = (typed(FORM), form(dear, CHEAP_PART), "")
    HOSTILE[f"{spelling} after"] = (typed(FORM), form(CHEAP_PART, dear), "")
for header in (
    "Content-Type: text/plain; charset=utf-16le", "Content-Transfer-Encoding: base64",
    "Content-Transfer-Encoding: quoted-printable", "Content-Type: application/json",
):
    odd = part(f'Content-Disposition: form-data; name="model"\r\n{header}', "=64ear")
    HOSTILE[f"a part with {header}"] = (typed(FORM), form(odd, CHEAP_PART), "")

URLENCODED = "application/x-www-form-urlencoded"
for odd in (
    b"model=cheap&model=dear", b"model=dear&model=cheap", b"model=cheap&Model=dear",
    b"model=cheap;model=dear", b"model=cheap&a=1;model=dear", b"%6dodel=dear&model=cheap",
    b"model[]=dear&model=cheap", b"[model]=dear&model=cheap", b"model=cheap&%5Bmodel%5D=dear",
    b"model[x]=dear&model=cheap", b"model.x=dear&model=cheap", b"+model=dear&model=cheap",
    b"model=cheap&mod%65l=dear", b"model=cheap&model%00=dear", b"model=cheap%zz&model=dear",
    b"model=sized&size=small&size=big", b"model=sized&size=small&Size=big",
    b"model=sized&size=small;size=big", b"model=sized&size[]=big&size=small",
    b"model=sized&size=%zz&size=big", b"model=sized&%73ize=big&size=small",
    b'{"a":"&model=cheap&","model":"dear"}', b' {"a":"&model=cheap&","model":"dear"}',
    b"a=1&" * 1000 + b"model=cheap", b"model=cheap&" + b"a=1&" * 1000 + b"model=dear",
):
    HOSTILE[f"form {odd[:60]}"] = (typed(URLENCODED), odd, "")

HONEST = {
    "urlencoded": (typed(URLENCODED), b"a=1&model=cheap", ""),
    "urlencoded, escaped": (typed(URLENCODED), b"model=ch%65ap&x=%20+y", ""),
    "urlencoded with a size": (
        typed(f"{URLENCODED}; charset=utf-8"), b"model=sized&size=small", ""),
    "JSON": (typed(JSON), CHEAP_JSON, "?a=1"),
    "JSON with a size": (typed(JSON), b'{"model":"sized","size":"small"}', ""),
    "JSON, UTF-8": (typed(f"{JSON}; charset=UTF-8"), b' {"a":"\xe5\x9b\xbe","model":"cheap"}', ""),
    "JSON, escaped": (typed(JSON), b'{"\\u006dodel":"ch\\u0065ap"}', ""),
    "JSON, compressed": (
        typed(JSON) + [("Content-Encoding", "gzip")], gzip.compress(CHEAP_JSON), ""),
    "form": (typed(FORM), CHEAP_FORM, ""),
    "form with a file": (
        typed('multipart/form-data; boundary="b"'),
        form(named('name="file"; filename="C:\\\\a; name=model.wav"', "RIFF\n-- b"), CHEAP_PART),
        ""),
    "form, unquoted": (typed(FORM), form(named("name=model", "cheap")), ""),
    "form, compressed": (
        typed(FORM) + [("Content-Encoding", "gzip")], gzip.compress(CHEAP_FORM), ""),
}

# What these readers read as dear: were one of them let through as cheap, it would be run for less
# than its price.
DANGEROUS = {
    "go": (
        "boundary*", "boundary* first", "boundary*0", "JSON as a form", "model in the query",
        "model twice", "Model", "gzip with a comment", "bare line feeds", "size twice", "Size",
        "size, folded", "size, folded and escaped",
        'name*0="mod"; name*1="el" before', "name*=us-ascii''model before",
        "a part with Content-Transfer-Encoding: quoted-printable",
    ),
    "flask": (
        "boundary*", "boundary*0", "two boundaries", "JSON in UTF-16", "gzip with a comment",
        "delimiter after a line feed", 'name="mod\\el" before', 'name="other"; name="model" before',
    ),
    "express": ("JSON as a form", "JSON in UTF-7", "JSON in UTF-16", "escaped"),
}


def price_of(answer):
    """What the reader of a request would have it cost: cheap or dear, or nothing."""
    if answer["model"] != "sized":
        return answer["model"]
    return "dear" if answer["size"] == "big" else "cheap"


def everywhere(server, table):
    """Each request of a table through the server to each reader."""
    jobs = [(reader, name) for reader in server.keys for name in table]

    def ask(job):
        reader, name = job
        headers, body, query = table[name]
        headers = [("Authorization", f"Bearer {server.keys[reader]}"), *headers]
        return job, send(server.port, headers, body, query)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, jobs))


def test_readers_read_what_is_honest(server):
    for (reader, name), (status, answer, headers) in everywhere(server, HONEST):
        assert status == 200, f"{reader}, {name}: {status} {answer}"
        assert price_of(answer) == "cheap", f"{reader}, {name}: {answer}"
        assert headers["X-Newapi-Quota"] == str(CHEAP), f"{reader}, {name}: {headers}"


def test_what_is_paid_for_is_what_is_read(server):
    passed = 0
    for (reader, name), (status, answer, headers) in everywhere(server, HOSTILE):
        if status in (400, 415):
            assert answer["error"]["request_id"], f"{reader}, {name}: {answer}"
            continue
        assert status == 200, f"{reader}, {name}: {status} {answer}"
        passed += 1
        read, paid = price_of(answer), headers["X-Newapi-Quota"]
        fair = {None: True, "cheap": paid == str(CHEAP), "dear": paid == str(DEAR)}
        assert fair.get(read), f"{reader}, {name}: paid {paid}, read {read}"
    assert passed, "some are harmless once they are sent on as they were read"


def test_the_table_has_teeth(server):
    """Sent past the server, the readers do read what would not have been paid for."""
    for reader, names in DANGEROUS.items():
        for name in names:
            headers, body, query = HOSTILE[name]
            answer = send(server.ports[reader], headers, body, query)[1]
            assert price_of(answer) == "dear", f"{reader}, {name}: {answer}"


if __name__ == "__main__":
    sys.exit(run(Readers, globals()))
