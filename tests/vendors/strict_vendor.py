"""Scripted vendors: each answers its own API alone, and refuses what the real one would.

A wrong or second key, a key of the gateway's, a header that a client's hop adds, a path or a query
that the API does not have: each is refused with the reason, which the client under test then shows.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY_HEADERS = {"authorization", "x-api-key", "api-key", "x-goog-api-key"}
# What a client library or an HTTP library sends; a gateway's own x-request-id is welcome.
KNOWN_HEADERS = KEY_HEADERS | {
    "accept", "accept-encoding", "accept-language", "connection", "content-length",
    "content-type", "host", "idempotency-key", "transfer-encoding", "user-agent", "x-request-id",
}
# What chooses the account that is billed below a key: it is the channel's to say.
ACCOUNT_HEADERS = {"anthropic-workspace-id", "openai-organization", "openai-project",
                   "x-goog-user-project"}
KNOWN_PREFIXES = ("anthropic-", "openai-", "x-stainless-", "x-goog-api-client", "x-fern-",
                  "x-goog-upload-",
                  "x-client-name", "x-server-timeout")


class Refused(Exception):
    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Request:
    """What arrived."""

    def __init__(self, handler):
        split = urlsplit(handler.path)
        self.method, self.path = handler.command, split.path
        self.query = parse_qs(split.query, keep_blank_values=True)
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        if "chunked" in self.headers.get("transfer-encoding", ""):
            self.body = read_chunks(handler.rfile)
        else:
            self.body = handler.rfile.read(int(self.headers.get("content-length", 0)))

    def json(self):
        return json.loads(self.body)


def read_chunks(stream):
    body = b""
    while size := int(stream.readline().strip() or b"0", 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


class Vendor:
    """A vendor: the header of its key, the queries that it knows and needs, and its routes.

    A route is `(method, path)` and a function of the request that returns a body: an object, for
    JSON; a list, for a stream of events; or bytes. With headers, it is a pair.
    """

    def __init__(self, key_header, key, queries, routes, needs=frozenset()):
        self.key_header, self.key, self.queries, self.routes = key_header, key, queries, routes
        self.needs = needs
        self.requests = []
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                vendor.answer(self)

            do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler):
        request = Request(handler)
        self.requests.append(request)
        try:
            self.check(request)
            route = self.routes.get((request.method, request.path))
            if route is None:
                raise Refused(404, f"no route {request.method} {request.path}")
            status, reply = 200, route(request)
        except Refused as refused:
            print(f"refused {request.method} {request.path}: {refused}")
            status, reply = refused.status, {"error": {"message": str(refused)}}
        reply, headers = reply if isinstance(reply, tuple) else (reply, {})
        if isinstance(reply, list):
            kind, body = "text/event-stream", "".join(reply).encode()
        elif isinstance(reply, bytes):
            kind, body = "application/octet-stream", reply
        else:
            kind, body = "application/json", json.dumps(reply).encode()
        handler.send_response(status)
        handler.send_header("content-type", kind)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def check(self, request):
        if request.headers.get(self.key_header) != self.key:
            raise Refused(401, f"{self.key_header} is {request.headers.get(self.key_header)!r}")
        if others := KEY_HEADERS & set(request.headers) - {self.key_header}:
            raise Refused(401, f"a second key in {others}")
        if chosen := ACCOUNT_HEADERS & set(request.headers):
            raise Refused(401, f"mismatched_organization: {chosen}")
        for name, value in request.headers.items():
            if name not in KNOWN_HEADERS and not name.startswith(KNOWN_PREFIXES):
                raise Refused(400, f"unknown header {name}: {value}")
            if "sk-" in value:
                raise Refused(400, f"a customer's key in {name}")
        if unknown := set(request.query) - self.queries:
            raise Refused(400, f"unknown query {unknown}")
        if missing := self.needs - set(request.query):
            raise Refused(404, f"missing query {missing}")


def events(*data, done=None, named=False):
    """Server-sent events; `named` by their type."""
    lines = []
    for event in data:
        name = f"event: {event['type']}\n" if named else ""
        lines.append(f"{name}data: {json.dumps(event)}\n\n")
    return lines + ([f"data: {done}\n\n"] if done else [])
