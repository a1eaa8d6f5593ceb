"""What is measured: the stub alone, nginx, a bare hyper proxy, and newapi on either database."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import CORES, HERE, Process, Wrk, free_port, process_cpu_ms, wait_until

CHAT = "/v1/chat/completions"
CLIENT_KEY, UPSTREAM_KEY = "sk-bench", "sk-upstream"
FIXED, BY_USE, ESTIMATED, FREE = "bench-fixed", "bench-use", "bench-estimate", "bench-free"
ROOT_TOKEN = "bench-root-access-token-0123456789"
BEFORE = os.environ.get("NEWAPI_BEFORE")
NEWAPI = os.environ.get("NEWAPI_BIN", str(HERE.parent / "target/release/newapi"))
PROGRAMS = HERE / "target/release"
# Everything is on loopback: no proxy of the environment has a part in it.
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))

NGINX = """
user root;
worker_processes {workers};
worker_rlimit_nofile 65536;
daemon off;
pid {out}/nginx-{port}.pid;
error_log {out}/nginx-{port}.err error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {out}/nginx-body; proxy_temp_path {out}/nginx-proxy;
  fastcgi_temp_path {out}/nginx-f; uwsgi_temp_path {out}/nginx-u; scgi_temp_path {out}/nginx-s;
  keepalive_requests 1000000000;
  upstream stub {{ server {stub}; keepalive 512; keepalive_requests 1000000000; }}
  map $http_authorization $known {{ "Bearer {client_key}" 1; default 0; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096 reuseport;
    location / {{
      if ($known = 0) {{ return 401; }}
      proxy_pass http://stub;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {upstream_key}";
      proxy_buffering {buffering};
      proxy_read_timeout 600s;
    }}
  }}
}}
"""


class Target:
    """A thing under load: its processes (none for the stub alone), its address and its load."""

    def __init__(self, name, wrk, server=None):
        self.name, self.wrk, self.server = name, wrk, server

    def cpu_ms(self):
        return self.server.process.cpu_ms() if self.server else 0

    def database_cpu_ms(self):
        return self.server.database_cpu_ms() if self.server else 0


class Proxy:
    """nginx or the bare hyper proxy."""

    def __init__(self, process, port):
        self.process, self.base = process, f"http://127.0.0.1:{port}"

    def database_cpu_ms(self):
        return 0


def start_stub(out, core=None):
    port = free_port()
    command = [str(PROGRAMS / "stub"), f"127.0.0.1:{port}", UPSTREAM_KEY]
    process = Process("stub", command, out, core=core)
    process.address = f"127.0.0.1:{port}"
    require(process, process.address)
    return process


def start_nginx(out, stub, workers=CORES, core=None, buffering=True):
    port = free_port()
    config = out / f"nginx-{port}.conf"
    config.write_text(NGINX.format(
        out=out, port=port, stub=stub.address, workers=workers, client_key=CLIENT_KEY,
        upstream_key=UPSTREAM_KEY, buffering="on" if buffering else "off"))
    command = ["nginx", "-p", str(out), "-c", str(config), "-e", str(out / "nginx.err")]
    process = Process(f"nginx-{port}", command, out, core=core)
    require(process, f"127.0.0.1:{port}")
    return Proxy(process, port)


def start_hyper(out, stub, workers=CORES, core=None):
    port = free_port()
    command = [str(PROGRAMS / "hyper-pass"), f"127.0.0.1:{port}", stub.address, CLIENT_KEY,
               UPSTREAM_KEY, str(workers)]
    process = Process(f"hyper-{port}", command, out, core=core)
    require(process, f"127.0.0.1:{port}")
    return Proxy(process, port)


def require(process, address, path="/"):
    def answers():
        if not process.alive():
            raise RuntimeError(f"{process.name} ended: see {process.log}")
        try:
            urllib.request.urlopen(f"http://{address}{path}", timeout=5).read()
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False
        return True
    if not wait_until(answers, pause=0.005):
        raise RuntimeError(f"{process.name} does not answer: see {process.log}")


class Newapi:
    """A newapi server over a data directory of its own."""

    def __init__(self, name, out, stub, dsn=None, core=None, binary=NEWAPI, **settings):
        self.name, self.out, self.stub, self.dsn, self.core = name, out, stub, dsn, core
        self.binary = binary
        self.data = out / f"{name}-data"
        self.data.mkdir(exist_ok=True)
        self.settings = settings
        self.starts = 0
        self.keys = []
        self.postmaster = postmaster_pid() if dsn else None
        self.start()

    def environment(self):
        env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        env.update(LISTEN_ADDR="127.0.0.1", PORT=str(self.port), DATA_DIR=str(self.data),
                   LOG_FILE=str(self.out / f"{self.name}-requests.log"), METRICS_PORT="0",
                   ROOT_ACCESS_TOKEN=ROOT_TOKEN, UPSTREAM_ALLOW_NETS="127.0.0.0/8")
        if self.dsn:
            env["SQL_DSN"] = self.dsn
        if self.core is not None:
            env["WORKER_THREADS"] = "1"
        env.update(self.settings)
        return env

    def start(self):
        """Starts it; gives the time until its health answers 200, in ms."""
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        started = time.monotonic()
        self.process = Process(self.name, [self.binary], self.out, env=self.environment(),
                               core=self.core)
        require(self.process, f"127.0.0.1:{self.port}", "/api/status")
        self.starts += 1
        return (time.monotonic() - started) * 1000

    def stop(self):
        self.process.stop()

    def database_cpu_ms(self):
        if not self.postmaster:
            return 0
        children = subprocess.run(["pgrep", "-P", str(self.postmaster)], capture_output=True,
                                  text=True).stdout.split()
        return sum(process_cpu_ms(pid) for pid in [self.postmaster, *children])

    def call(self, path, body, method="POST"):
        request = urllib.request.Request(
            self.base + path, json.dumps(body).encode(),
            {"Authorization": f"Bearer {ROOT_TOKEN}", "Content-Type": "application/json"},
            method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{path}: {error.code} {error.read().decode()}") from error

    def log_in(self, name, password):
        """Logs in, as a browser does; the header that its requests have then."""
        body = json.dumps({"username": name, "password": password}).encode()
        request = urllib.request.Request(self.base + "/api/user/login", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return {"Cookie": answer.headers["Set-Cookie"].split(";")[0]}

    def set_up(self, accounts):
        """Channels, prices, and so many accounts with a key each."""
        channels = {"c": ([FIXED, FREE], {}), "c-use": ([BY_USE], {"precharge": "off"}),
                    "c-estimate": ([ESTIMATED], {"precharge": "query"})}
        for name, (models, setting) in channels.items():
            self.call("/api/channel", {
                "name": name, "type": 52, "base_url": f"http://{self.stub.address}",
                "key": UPSTREAM_KEY, "models": models, "groups": ["default"],
                "setting": setting})
        self.call("/api/ability", {"model_name": FIXED, "channel_type": 52, "fixed_quota": 5})
        for model in (BY_USE, ESTIMATED):
            self.call("/api/ability", {"model_name": model, "channel_type": 52, "ratio": 1.5,
                                       "completion_ratio": 2})
        with ThreadPoolExecutor(8) as pool:
            self.keys = list(pool.map(self.account, range(accounts)))

    def account(self, number):
        user = self.call("/api/user", {"username": f"bench-{number}", "group": "default",
                                       "quota": 10**12})
        token = self.call("/api/token", {"user_id": user["id"], "name": "bench",
                                         "unlimited_quota": True, "expired_time": -1})
        return token["key"]

    def load(self, model, accounts=1, stream=False):
        return Wrk(self.out, self.base + CHAT, self.keys[:accounts], model, stream)

    def audit(self):
        """True when every quota is accounted for. Run after stop(): nothing is under way."""
        done = subprocess.run([self.binary, "audit"], env=self.environment(), capture_output=True,
                              text=True)
        (self.out / f"{self.name}-audit.txt").write_text(done.stdout + done.stderr)
        return done.returncode == 0


def postmaster_pid():
    shown = subprocess.run(["psql", "-XAtc", "show data_directory"], capture_output=True,
                           text=True, check=True).stdout.strip()
    return int(Path(shown, "postmaster.pid").read_text().split()[0])


def make_database(name):
    for statement in (f"drop database if exists {name}", f"create database {name}"):
        subprocess.run(["psql", "-Xqc", statement], check=True, capture_output=True)
    host, port, user = (os.environ[key] for key in ("PGHOST", "PGPORT", "PGUSER"))
    return f"postgres://{user}@{host}:{port}/{name}"
