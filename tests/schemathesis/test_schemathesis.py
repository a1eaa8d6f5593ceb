"""Has schemathesis try every call of the OpenAPI document that newapi prints, on a real server.

Usage: test_schemathesis.py PATH_OF_NEWAPI. Prints "N passed, 0 failed".

Every answer has to be one the document knows: status, content type, headers and schema, whatever
was sent; a wrong method and a missing token are refused as the document says. Afterwards the
books have to balance.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from newapi_server import ROOT_TOKEN, Server

HERE = os.path.dirname(os.path.abspath(__file__))
# What is tried of a call at most; the inputs are the same every time.
EXAMPLES = "10"
# They give the caller a new access token, and end the one that the test calls with.
RENEWALS = "^/api/user/(self/|[{]id[}]/)?token$"
# They take another key, and are held against the document by crates/gateway/tests/it/openapi.rs.
PLANE = "^/v1/"
# They have no end; crates/gateway/tests/it/events.rs follows them.
STREAMS = "^/api/events$"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
    "ignored_auth",
    "negative_data_rejection",
]


def set_up(server):
    """One thing of each kind, so that there is something to be listed, read and changed."""
    channel = {"name": "c", "type": 52, "base_url": "http://127.0.0.1:9", "key": "k", "models": ["m"]}
    server.call("POST", "/api/channel", channel)
    server.call("POST", "/api/ability", {"model_name": "m", "channel_type": 52, "ratio": 2.0})
    server.call("POST", "/api/group", {"group_name": "vip", "ratio": 0.8})
    user = {"username": "ann", "password": "a good password", "quota": 1000}
    user_id = server.call("POST", "/api/user", user)["data"]["id"]
    server.call("POST", "/api/token", {"user_id": user_id, "name": "k", "remain_quota": 5})
    server.call("POST", "/api/webhook", {"user_id": user_id, "url": "https://hook.invalid/"})


def schemathesis(document, port):
    program = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    return [
        program, "run", document, "--url", f"http://127.0.0.1:{port}",
        "--header", f"Authorization:Bearer {ROOT_TOKEN}", "--header", "New-Api-User:1",
        "--exclude-path-regex", f"{RENEWALS}|{PLANE}|{STREAMS}", "--checks", ",".join(CHECKS),
        # The same handlers and bodies as PUT.
        "--exclude-method", "PATCH",
        "--phases", "coverage,fuzzing", "--max-examples", EXAMPLES, "--continue-on-failure",
        "--generation-deterministic", "--warnings", "off",
        "--request-timeout", "30", "--no-color", *sys.argv[2:],
    ]


def main():
    newapi = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="newapi-schemathesis-") as directory:
        server = Server(newapi, directory, TRUSTED_PROXIES="127.0.0.0/8")
        document = os.path.join(directory, "openapi.json")
        with open(document, "w", encoding="utf-8") as file:
            subprocess.run([newapi, "openapi"], env=server.environment, stdout=file, check=True)
        try:
            served = server.call("GET", "/api/openapi.json")
            with open(document, encoding="utf-8") as file:
                assert served == json.load(file), "the served document is not the printed one"
            set_up(server)
            started = time.monotonic()
            command = schemathesis(document, server.port)
            hooks = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": HERE}
            tried = subprocess.run(command, cwd=directory, env=server.environment | hooks)
            print(f"schemathesis: {time.monotonic() - started:.0f} s")
            audit = subprocess.run([newapi, "audit"], env=server.environment)
        finally:
            server.stop()
    failed = (tried.returncode != 0) + (audit.returncode != 0)
    print(f"{2 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
