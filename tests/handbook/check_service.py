"""Blocks about the service itself: its state, its health, its tasks, its way back."""

import pathlib
import re
import shutil

import profiles
from checks import block
from house import wait_until

RUNNING = r"Active: active \(running\)"
# Crates whose functions are in any profile.
OURS = {"newapi", "store", "ledger", "tasks", "relay", "web", "admin"}


def asked():
    return pathlib.Path("/srv/asked").read_text(encoding="utf-8").splitlines()


@block("系统状态检查")
def state(run):
    run().ok().has(RUNNING, r"0\.0\.0\.0:3000 .*LISTEN .*/newapi", r"/opt/newapi/newapi serve",
                   r"^ *\d+ newapi .*newapi$")


@block("健康检查脚本")
def health(run):
    active = run.house.value("SELECT count(*) FROM tasks"
                             " WHERE status IN ('submitted', 'processing')")
    run(api=True).ok().has("✓ API服务正常", "✓ 数据库连接正常", "CustomPass渠道数量: 3$",
                           f"活跃CustomPass任务: {active}$", r"日志中的错误: [1-9]\d*$").lacks("✗")


@block("问题：CustomPass渠道创建失败")
def channels(run):
    seen = run(api=True, until=[r'"name": "own"', r'"name": "slow"', r"custompass: "])
    # A key is never shown.
    seen.lacks("upstream-key")


@block("问题：CustomPass渠道创建失败", 2)
def base_url(run):
    run(api=True).ok().has("^422 api.example.com$", "^422 https://api.example.com/v1/$",
                           "^200 https://api.example.com$")
    told = run.house.request("POST", "/api/channel", {
        "name": "trial", "type": 52, "key": "k", "models": ["m"], "base_url": "api.example.com",
    }, run.house.environment["ROOT_ACCESS_TOKEN"])[1]
    assert "配置错误" in told and "base_url" in told, told


@block("问题：CustomPass渠道创建失败", 3)
def submit_models(run):
    run().ok().has("^404 custom-image-gen$", "^200 custom-image-gen/submit$")


@block("问题：CustomPass渠道创建失败", 4)
def key_length(run):
    # 'upstream-key', and the line break that echo adds.
    run().ok().has("API密钥长度: 13$")
    # What is pasted with a line break is trimmed before it is kept.
    house = run.house
    house.api("PATCH", f"/api/channel/{house.channel_id}", {"key": "upstream-key\n"})
    assert house.call() == 200


@block("问题：任务提交成功但状态不更新", 3)
def poll(run):
    house = run.house
    house.submit("custom-image-gen", "polls=1")
    before = house.statuses()["completed"]
    run().ok()
    wait_until(lambda: house.statuses()["completed"] > before, "the task's end")
    wait_until(lambda: "poll_requested" in log_end(house), "the signal in the log")
    assert asked()[-1] == "systemctl restart newapi"


def log_end(house):
    return house.shell("tail -n 200 /var/log/newapi.log").text


@block("问题：任务提交成功但状态不更新", 4)
def ask_for_task(run):
    run().ok().has('"status":"completed"', '"task_id":"trial-')


@block("问题：响应时间过长")
def resources(run):
    run().has(r"^ *\d+ newapi .*newapi$", r"^avg-cpu", r"^Mem: ", r"mean_exec_time", r"\(10 rows\)",
              r"5 packets transmitted, 5 received").lacks("ERROR")
    assert asked()[-1] == "traceroute upstream-api.com"


@block("问题：内存使用过高")
def memory(run):
    seen = run(seconds=300).has(r"^total kB +\d+", r"newapi").lacks("Connection refused")
    zipped = pathlib.Path("/srv/home/heap.prof").read_bytes()
    heap = profiles.Profile(zipped)
    assert heap.units == [("inuse_space", "bytes")], heap.units
    assert "/opt/newapi/newapi" in heap.files, heap.files
    assert OURS & {name.split("::")[0] for name in heap.functions}, heap.functions
    named = {name: held for name, held in heap.flat.items() if name[0] != "["}
    assert sum(named.values()) > sum(heap.flat.values()) / 2 > 0, heap.flat
    if shutil.which("go"):
        seen.has("^Type: inuse_space$")
        top = run.house.shell("go tool pprof -top -nodefraction=0 heap.prof").ok()
        top.has(*(re.escape(name) for name in named))
    jobs = run.house.shell("curl -sf 'http://localhost:6060/debug/pprof/goroutine?debug=1'").ok()
    assert len(jobs.text.splitlines()) > 3, jobs.text


@block("紧急故障处理流程")
def first_look(run):
    assert run.house.call(key=run.house.poor_key) == 402
    wait_until(lambda: "precharge_failed" in log_end(run.house), "the refusal in the log")
    run().ok().has(RUNNING, r"\[ERROR\] custompass: precharge_failed ", r"^top - ")


@block("紧急故障处理流程", 2)
def quick_recovery(run):
    house = run.house
    rest = pathlib.Path("/tmp/newapi-rest")
    rest.write_text("", encoding="ascii")
    pid = house.shell("pgrep newapi").text
    run(seconds=120).ok()
    assert not rest.exists()
    assert house.shell("pgrep newapi").text not in ("", pid)
    # The service comes back by itself when its database has.
    wait_until(lambda: house.call() == 200, "a paid call after the database's restart")
    house.audit_clean()


@block("紧急故障处理流程", 3)
def way_back(run):
    run.house.shell("""
        cp /opt/newapi/newapi /opt/newapi/new-api.backup
        printf '#!/bin/sh\\nexit 1\\n' >/srv/bad
        install -m 0755 /srv/bad /opt/newapi/newapi.new
        mv -f /opt/newapi/newapi.new /opt/newapi/newapi
        /opt/newapi/new-api --version && exit 1
        exit 0
    """).ok()
    run().ok()
    run.house.shell("/opt/newapi/new-api --version").ok().has("^newapi ")
    assert asked()[-2:] == ["systemctl stop newapi", "systemctl start newapi"]
    assert run.house.call() == 200


@block("数据恢复")
def restore(run):
    house = run.house
    # Nothing is under way, so that the backup and what is compared with it are of one moment.
    house.shell("systemctl stop newapi && /opt/newapi/scripts/backup.sh").ok()
    kept, tasks = house.balances(), house.statuses()
    house.shell("systemctl start newapi").ok()
    for _ in range(5):
        assert house.call() == 200
    assert house.balances() != kept
    restored = run(seconds=120).ok().lacks("ERROR", "FATAL")
    counted = re.search(r"count *\n-+\n *(\d+)", restored.text)
    assert int(counted[1]) == sum(tasks.values()), restored.text
    assert house.balances() == kept
    house.audit_clean()
    assert house.call() == 200


def upgrade(house):
    """No block, but what upgrade.sh promises: the old binary comes back when the new one is no good."""
    scripts = "/opt/newapi/scripts"
    # What the scripts take for a system with services.
    pathlib.Path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
    version = house.shell("/opt/newapi/newapi --version").ok().text
    bad = pathlib.Path("/srv/bad-upgrade")
    bad.write_text("#!/bin/sh\n[ $1 = --version ] && exec echo newapi 9.9\nexit 1\n", "ascii")
    bad.chmod(0o755)
    pid = house.shell("pgrep -x newapi").text
    refused = house.shell(f"HEALTH_TRIES=1 {scripts}/upgrade.sh {bad}", seconds=120)
    assert refused.code != 0, refused.text
    refused.has("the new version does not answer; going back", "back to newapi ")
    assert house.shell("/opt/newapi/newapi --version").ok().text == version
    assert house.call() == 200
    house.shell(f"SKIP_BACKUP=1 {scripts}/upgrade.sh /srv/newapi", seconds=120).ok().has("^now ")
    assert house.shell("pgrep -x newapi").text not in ("", pid)
    assert house.call() == 200
    # And doctor, as an operator asks it: with the service's settings.
    said = house.shell(f"{scripts}/newapi.sh doctor --offline")
    said.has("✓ service: answers", "✓ database: Postgres answers", "error rate", "✓ audit: clean")
    said.lacks("goes to standard error")
