"""Streams by hand: the time to the first event, many idle streams, very large bodies."""

import selectors
import socket
import time
from urllib.parse import urlsplit


def request_bytes(url, key, model, stream=True, extra=""):
    parts = urlsplit(url)
    body = ('{"model":"%s","messages":[{"role":"user","content":"Hello"}]%s}'
            % (model, ',"stream":true' if stream else "")).encode()
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = (f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n")
    return (parts.hostname, parts.port), head.encode() + body


def open_socket(address):
    s = socket.create_connection(address, timeout=60)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def first_events(url, key, model, count):
    """Times to the first event, in µs, of so many streams one after the other."""
    address, data = request_bytes(url, key, model)
    times = []
    with open_socket(address) as s:
        for _ in range(count):
            started = time.perf_counter()
            s.sendall(data)
            got, first = b"", None
            while not got.endswith(b"0\r\n\r\n"):
                part = s.recv(65536)
                if not part:
                    raise RuntimeError(f"{url}: the stream was cut: {got[:200]}")
                got += part
                if first is None and b"data:" in got:
                    first = time.perf_counter() - started
            if b" 200 " not in got[:16] or b"[DONE]" not in got:
                raise RuntimeError(f"{url}: {got[:200]}")
            times.append(first * 1e6)
    return times


class IdleStreams:
    """So many streams at a time, each past its first event and then silent."""

    def __init__(self, url, key, model, count):
        address, data = request_bytes(url, key, model)
        self.sockets, self.served, self.refused = [], 0, 0
        waiting = selectors.DefaultSelector()
        for start in range(0, count, 200):
            # In small crowds: this is about memory, not about a thundering herd.
            for _ in range(min(200, count - start)):
                s = open_socket(address)
                s.sendall(data)
                self.sockets.append(s)
                waiting.register(s, selectors.EVENT_READ)
            self.take_first_events(waiting)
        waiting.close()

    def take_first_events(self, waiting):
        end = time.monotonic() + 60
        got = {}
        while waiting.get_map() and time.monotonic() < end:
            for ready, _ in waiting.select(1):
                part = ready.fileobj.recv(65536)
                got[ready.fd] = got.get(ready.fd, b"") + part
                first = b"data:" in got[ready.fd]
                if first or not part or b" 200 " not in got[ready.fd][:16]:
                    self.served += first
                    self.refused += not first
                    waiting.unregister(ready.fileobj)

    def close(self):
        for s in self.sockets:
            s.close()


def upload(url, key, model, size):
    """Sends a body of so many bytes; gives (status, bytes taken, seconds)."""
    parts = urlsplit(url)
    started = time.monotonic()
    with open_socket((parts.hostname, parts.port)) as s:
        s.sendall((f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                   f"Authorization: Bearer {key}\r\nContent-Type: application/octet-stream\r\n"
                   f"Content-Length: {size}\r\n\r\n").encode())
        piece, sent = b"x" * (256 << 10), 0
        try:
            while sent < size:
                s.sendall(piece)
                sent += len(piece)
        except OSError:
            pass  # refused while it was sent: the answer tells
        try:
            answer = s.recv(65536)
        except OSError:
            answer = b""
    status = int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0
    return status, sent, time.monotonic() - started


def download(url, key, model, size):
    """Takes a body of so many bytes; gives (status, bytes taken, seconds)."""
    address, data = request_bytes(f"{url}?size={size}", key, model, stream=False,
                                  extra="Connection: close\r\n")
    started, taken = time.monotonic(), 0
    with open_socket(address) as s:
        s.sendall(data)
        head = s.recv(65536)
        while b"\r\n\r\n" not in head:
            head += s.recv(65536)
        taken = len(head) - head.index(b"\r\n\r\n") - 4
        buffer = bytearray(1 << 20)
        while read := s.recv_into(buffer):
            taken += read
    return int(head.split()[1]), taken, time.monotonic() - started
