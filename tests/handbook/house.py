"""A real installation, as the handbook knows it, and what the checks ask of it."""

import contextlib
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

import network

ROOT_TOKEN = "root-access-token-of-the-handbook-test"
UPSTREAM_PORT, SLOW_PORT = 9000, 9001
LOG = pathlib.Path("/var/log/newapi.log")
START = 10_000_000
SETTINGS = f"""
SQL_DSN=postgres://newapi@localhost:5432/newapi
ROOT_ACCESS_TOKEN={ROOT_TOKEN}
ROOT_PASSWORD="a password for the handbook"
UPSTREAM_ALLOW_NETS=127.0.0.0/8
SSL_CERT_FILE=/srv/ca.pem
LOG_LEVEL=debug
CUSTOM_PASS_POLL_INTERVAL=10s
CUSTOM_PASS_BATCH_SIZE=50
CUSTOM_PASS_MAX_CONCURRENT=100
CUSTOM_PASS_STATUS_SUCCESS=completed,success
CUSTOM_PASS_STATUS_FAILED=failed,error
CUSTOM_PASS_STATUS_PROCESSING=pending,submitted
ENABLE_PPROF=true
"""


class Ran:
    """What a block printed, and how it ended."""

    def __init__(self, code, text):
        self.code, self.text = code, text

    def has(self, *patterns):
        for pattern in patterns:
            assert re.search(pattern, self.text, re.M), f"no {pattern!r} in:\n{self.text}"
        return self

    def lacks(self, *patterns):
        for pattern in patterns:
            assert not re.search(pattern, self.text, re.M), f"{pattern!r} in:\n{self.text}"
        return self

    def ok(self):
        assert self.code == 0, f"ended with {self.code}:\n{self.text}"
        return self

    def rows(self):
        """How many rows psql counted, query by query."""
        self.lacks("ERROR:")
        return [int(count) for count in re.findall(r"^\((\d+) rows?\)$", self.text, re.M)]


def plain(seen):
    """What came from a terminal, without its colours."""
    text = seen.decode(errors="replace").replace("\r\n", "\n")
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def wait_until(true, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)
    return found


class House:
    """The installation: database, upstreams, service, channels, prices, users."""

    HANG, GO_ON = signal.SIGSTOP, signal.SIGCONT

    def __init__(self):
        settings = dict(line.split("=", 1) for line in SETTINGS.split("\n") if line)
        self.environment = {
            **{name: value.strip('"') for name, value in settings.items()},
            "PATH": f"/srv/handbook/shims:{os.environ['PATH']}:/usr/sbin",
            "HOME": "/srv/home", "LANG": "C.UTF-8", "TERM": "dumb",
            "DATA_DIR": "/var/lib/newapi", "LOG_FILE": str(LOG), "CURL_CA_BUNDLE": "/srv/ca.pem",
            # Where Go keeps its own pprof, which it has to build first.
            "GOCACHE": os.environ.get("GOCACHE", ""),
            "PGHOST": "localhost", "PGUSER": "newapi", "PGDATABASE": "newapi", "PAGER": "cat",
        }
        self.started = []

    def start(self):
        with open("/etc/hosts", "a", encoding="ascii") as hosts:
            hosts.write(f"127.0.0.1 {network.UPSTREAM}\n")
        pathlib.Path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
        network.name_server()
        network.certificates("/srv")
        network.tls("/srv", UPSTREAM_PORT)
        self.start_database()
        self.upstream = self.start_upstream(UPSTREAM_PORT)
        self.slow_upstream = self.start_upstream(SLOW_PORT)
        self.shell("/srv/deploy/scripts/install.sh /srv/newapi").ok()
        with open("/etc/newapi/newapi.env", "a", encoding="ascii") as env:
            env.write(SETTINGS)
        self.shell("systemctl start newapi").ok()
        self.set_up()

    def start_database(self):
        data = "/var/lib/postgresql/data"
        self.shell(f"""
            install -d -o postgres -g postgres /var/lib/postgresql
            chown postgres /run/postgresql
            setpriv --reuid=postgres --regid=postgres --init-groups \\
                /usr/lib/postgresql/*/bin/initdb -D {data} -A trust --locale=C -E UTF8 --no-sync
            echo "shared_preload_libraries = 'pg_stat_statements'" >>{data}/postgresql.conf
            echo "timezone = 'UTC'" >>{data}/postgresql.conf
            systemctl start postgresql
            export PGUSER=postgres PGDATABASE=postgres
            psql -c "CREATE ROLE newapi LOGIN" -c "CREATE DATABASE newapi OWNER newapi"
            psql -d newapi -c "CREATE EXTENSION pg_stat_statements" \\
                -c "GRANT pg_read_all_stats TO newapi"
        """).ok()

    def start_upstream(self, port):
        # A name of its own, so that `pgrep newapi` finds the service alone.
        program = f"/srv/upstream-{port}"
        os.link("/srv/newapi", program)
        process = subprocess.Popen([program, "mock-upstream", "--port", str(port)],
                                   stdout=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def set_up(self):
        own = {"name": "own", "type": 52, "key": "upstream-key", "groups": ["default", "vip"],
               "base_url": f"https://{network.UPSTREAM}",
               "models": ["gpt-4", "custom-image-gen/submit"],
               "custompass_status_mapping": {"processing": ["processing"]}}
        loopback = "http://127.0.0.1"
        # Nothing tells this channel what the word "processing" means.
        odd = {**own, "name": "odd", "base_url": f"{loopback}:{UPSTREAM_PORT}",
               "models": ["odd-words/submit"], "custompass_status_mapping": {}}
        slow = {**own, "name": "slow", "base_url": f"{loopback}:{SLOW_PORT}",
                "models": ["slow-render/submit"]}
        self.channel_id = self.api("POST", "/api/channel", own)["id"]
        for channel in (odd, slow):
            self.api("POST", "/api/channel", channel)
        for model in ("gpt-4", "custom-image-gen/submit", "odd-words/submit", "slow-render/submit"):
            self.api("POST", "/api/ability", {"model_name": model, "channel_type": 52, "ratio": 1})
        self.api("POST", "/api/group", {"group_name": "vip", "ratio": 0.8})
        # The handbook greps for user 123.
        self.sql("SELECT setval(pg_get_serial_sequence('users', 'id'), 122)")
        self.user_id, self.key = self.user("ann", START, "vip")
        assert self.user_id == 123, self.user_id
        self.others = [self.user(f"load-{n}", START) for n in range(3)]
        self.poor_key = self.user("bob", 1)[1]
        assert self.call() == 200 and self.call("status=500") == 500
        assert self.call(key=self.poor_key) == 402
        self.tasks()

    def user(self, name, quota, group="default"):
        user = {"username": name, "password": "a good password", "quota": quota, "group": group}
        user_id = self.api("POST", "/api/user", user)["id"]
        token = {"user_id": user_id, "name": "k", "unlimited_quota": True, "expired_time": -1}
        return user_id, self.api("POST", "/api/token", token)["key"]

    def tasks(self):
        """One task in each state there is."""
        self.upstream_task = None
        for model, query in [
            ("custom-image-gen", "polls=1"),
            ("custom-image-gen", "polls=1&outcome=failed"),
            ("custom-image-gen", "polls=1000000"),
            ("odd-words", "polls=1000000"),
            ("slow-render", "polls=1000000"),
        ]:
            self.submit(model, query)
        # It is not asked about again: an upstream that hangs.
        self.slow_upstream.send_signal(self.HANG)
        wanted = {"submitted", "processing", "completed", "failed", "unknown"}
        self.shell("kill -USR1 $(pgrep newapi)").ok()
        wait_until(lambda: set(self.statuses()) == wanted, f"tasks that are {wanted}")

    def statuses(self):
        rows = self.sql("SELECT status, count(*) FROM tasks GROUP BY status")
        return {status: int(count) for status, count in rows}

    def api(self, method, path, body=None):
        status, text = self.request(method, path, body, ROOT_TOKEN)
        assert status == 200, f"{method} {path}: {status} {text}"
        return json.loads(text)["data"]

    def request(self, method, path, body, token):
        request = urllib.request.Request(
            f"http://localhost:3000{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def call(self, query="", key=None):
        """A paid call of gpt-4. Returns its status."""
        body = {"model": "gpt-4", "messages": [{"role": "user", "content": "test"}]}
        return self.request("POST", f"/v1/chat/completions?{query}", body, key or self.key)[0]

    def submit(self, model, query):
        status, text = self.request("POST", f"/pass/{model}/submit?{query}", {}, self.key)
        assert status == 200, f"{model}: {status} {text}"

    def sql(self, text):
        """Rows of text, by psql."""
        psql = ["psql", "-X", "-At", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", text]
        ran = subprocess.run(psql, env=self.environment, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, f"{text}: {ran.stderr}"
        return [line.split("\t") for line in ran.stdout.splitlines()]

    def value(self, text):
        return self.sql(text)[0][0]

    def balances(self):
        return self.sql("SELECT id, quota, used_quota FROM users ORDER BY id")

    def metrics(self):
        with urllib.request.urlopen("http://localhost:9090/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def audit_clean(self):
        self.shell("/opt/newapi/newapi audit").ok()

    @contextlib.contextmanager
    def load(self):
        """Paid calls of several users, until the end of the block."""
        done, statuses = threading.Event(), []

        def call_on(key):
            while not done.is_set():
                statuses.append(self.call(key=key))

        keys = [self.key, *(key for _, key in self.others)]
        callers = [threading.Thread(target=call_on, args=(key,)) for key in keys]
        for caller in callers:
            caller.start()
        try:
            wait_until(lambda: len(statuses) >= 20, "calls under load")
            yield statuses
            enough = len(statuses) + 20
            wait_until(lambda: len(statuses) >= enough, "calls after the block")
        finally:
            done.set()
            for caller in callers:
                caller.join()
        assert set(statuses) == {200}, set(statuses)

    def filled_in(self, text):
        """The one table of placeholders."""
        key = self.key if "localhost:3000" in text else "upstream-key"
        completed = self.value("SELECT task_id FROM tasks WHERE status = 'completed' LIMIT 1")
        for placeholder, real in {
            r"your-api-key": key,
            r"Bearer api-key": "Bearer upstream-key",
            r"task-id-here": completed,
            r"\bCHANNEL_ID\b": str(self.channel_id),
            r"\bREFUND_AMOUNT\b": "500",
            r"\bUSER_GROUP\b": "vip",
            r"\bUSER_ID\b": str(self.user_id),
            r"\$1 FOR UPDATE": f"{self.user_id} FOR UPDATE",
        }.items():
            text = re.sub(placeholder, real, text)
        return text

    def run(self, text, language="bash", after="", **how):
        """A block, as a script; `after` is more of it, to look at what the block has set."""
        text = self.filled_in(text)
        if language == "sql":
            script = pathlib.Path("/srv/home/block.sql")
            script.write_text(text, encoding="utf-8")
            return self.shell(f"psql -X -f {script}", **how)
        return self.shell(text + after, **how)

    def shell(self, text, api=False, until=None, seconds=60):
        """Runs it with bash. `api`: with root's token in ~/.curlrc. `until`: on a terminal, and
        ended as soon as all these patterns have come."""
        curlrc = pathlib.Path("/srv/home/.curlrc")
        curlrc.write_text(f'header = "Authorization: Bearer {ROOT_TOKEN}"\n' if api else "",
                          encoding="ascii")
        script = pathlib.Path("/srv/home/block.sh")
        script.write_text(text, encoding="utf-8")
        command = ["bash", str(script)]
        if until:
            return self.terminal(command, until, seconds)
        with open("/srv/home/block.out", "w+b") as out:
            # A file, not a pipe: what the block leaves running may keep it.
            ran = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL,
                                 stdout=out, stderr=out, timeout=seconds, cwd="/srv/home")
            out.seek(0)
            return Ran(ran.returncode, out.read().decode(errors="replace"))

    def terminal(self, command, until, seconds):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=theirs, stderr=theirs, cwd="/srv/home",
                                   start_new_session=True)
        os.close(theirs)
        os.set_blocking(ours, False)
        seen = b""

        def complete():
            nonlocal seen
            with contextlib.suppress(BlockingIOError, OSError):
                seen += os.read(ours, 65536)
            text = plain(seen)
            return all(re.search(pattern, text, re.M) for pattern in until)

        try:
            wait_until(complete, f"{until} from {command}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{plain(seen)}") from None
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(ours)
        return Ran(0, plain(seen))

    def stop(self):
        self.shell("systemctl stop newapi; systemctl stop postgresql")
        for process in self.started:
            process.kill()
            process.wait()
