"""The handbook's upstream, upstream-api.com: a name server that knows it, and its TLS.

Behind it is the scripted upstream of newapi itself.
"""

import os
import socket
import ssl
import struct
import subprocess
import threading

UPSTREAM = "upstream-api.com"
# "IN A", what is asked when an address is wanted.
TYPE_A = (1).to_bytes(2, "big") + (1).to_bytes(2, "big")


def name_server():
    """Answers on port 53: this one name is at 127.0.0.1, and no other is anywhere."""
    known = b"".join(bytes([len(part)]) + part.encode() for part in UPSTREAM.split(".")) + b"\0"
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def answer(question):
        body = question[12:]
        end = body.index(b"\0") + 5
        name, kind = body[: end - 4], body[end - 4 : end]
        found = name.lower() == known
        addresses = found and kind == TYPE_A
        flags = 0x8580 if found else 0x8583
        head = question[:2] + struct.pack(">HHHHH", flags, 1, int(addresses), 0, 0)
        record = struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, bytes([127, 0, 0, 1]))
        return head + body[:end] + (record if addresses else b"")

    def serve():
        while True:
            question, client = server.recvfrom(512)
            server.sendto(answer(question), client)

    threading.Thread(target=serve, daemon=True).start()


def certificates(directory):
    """A private authority, and its certificate for the upstream. Returns the authority's file."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=handbook")
    openssl("req", "-x509", *key, "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "upstream.key",
            "-out", "upstream.pem", "-subj", f"/CN={UPSTREAM}",
            "-addext", f"subjectAltName=DNS:{UPSTREAM}", "-addext", "basicConstraints=CA:FALSE")
    return os.path.join(directory, "ca.pem")


def tls(directory, port):
    """Takes TLS off on port 443 and hands on to `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/upstream.pem", f"{directory}/upstream.key")
    listener = socket.create_server(("127.0.0.1", 443), backlog=200)

    def copy(source, sink):
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side has gone; the other one sees that, too

    def serve(plain):
        try:
            with context.wrap_socket(plain, server_side=True) as client, \
                    socket.create_connection(("127.0.0.1", port)) as upstream:
                back = threading.Thread(target=copy, args=(upstream, client), daemon=True)
                back.start()
                copy(client, upstream)
                back.join()
        except OSError:
            pass  # somebody who only looked whether the port is open

    def accept():
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=serve, args=(plain,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
