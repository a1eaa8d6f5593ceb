"""Blocks that set or show variables: newapi has to read each of them, and say so."""

import json
import re

from checks import block

# What goes by two names is told by the first.
OTHER_NAMES = {"LOG_LEVEL": "CUSTOM_PASS_LOG_LEVEL"}
SHOW = "\n/opt/newapi/newapi config --json\n"


def taken(run):
    """Runs a block of exports. Returns what newapi makes of them: every one has to be read."""
    ran = run(after=SHOW)
    assert ran.code == 0, ran.text
    told = json.loads(ran.text[ran.text.index("{"):])
    names = re.findall(r"^export (\w+)=", run.printed, re.M)
    assert names
    for name in names:
        setting = told.get(OTHER_NAMES.get(name, name))
        assert setting, f"{name} is not a setting"
        assert setting["source"].startswith("environment"), f"{name}: {setting}"
    return {name: told[OTHER_NAMES.get(name, name)]["value"] for name in names}


@block("问题：同步请求超时", 2)
def http_timeout(run):
    assert taken(run) == {"CUSTOM_PASS_HTTP_TIMEOUT": "120s"}


@block("问题：任务提交成功但状态不更新", 2)
def polling(run):
    run().ok().has("轮询间隔: 10s", "批量大小: 50", "最大并发: 100")


@block("问题：任务状态映射错误")
def status_words(run):
    run(api=True).ok().has("成功状态: completed,success", "失败状态: failed,error",
                           "处理中状态: pending,submitted", r'"processing": \[')


@block("问题：任务状态映射错误", 2)
def status_words_set(run):
    assert "in_progress" in taken(run)["CUSTOM_PASS_STATUS_PROCESSING"]


@block("问题：任务状态映射错误", 3)
def status_words_of_channel(run):
    run(api=True).ok().has("^true$")
    channel = run.house.api("GET", f"/api/channel/{run.house.channel_id}")
    wanted = json.loads(run.printed)["custompass_status_mapping"]
    assert channel["custompass_status_mapping"] == wanted, channel


@block("问题：响应时间过长", 3)
def pool(run):
    sizes = {"CUSTOM_PASS_DB_MAX_OPEN_CONNS": "100", "CUSTOM_PASS_DB_MAX_IDLE_CONNS": "25"}
    assert taken(run) == sizes


@block("问题：响应时间过长", 4)
def shared_cache(run):
    found = taken(run)
    assert found["ENABLE_CACHE"] == "true" and "REDIS_CONN_STRING" in found, found


@block("问题：内存使用过高", 2)
def memory_limit(run):
    run(after="\n/opt/newapi/newapi config\n").ok().has(
        r"GOMEMLIMIT +2GiB +environment GOMEMLIMIT", r"^GOGC has no effect")


@block("问题：内存使用过高", 3)
def batch(run):
    assert taken(run) == {"CUSTOM_PASS_BATCH_SIZE": "25"}


@block("问题：上游API连接失败", 3)
def proxies(run):
    assert set(taken(run)) == {"HTTP_PROXY", "HTTPS_PROXY"}


@block("问题：上游API连接失败", 4)
def deadlines(run):
    assert taken(run) == {"CUSTOM_PASS_HTTP_TIMEOUT": "120s", "CUSTOM_PASS_TASK_TIMEOUT": "30s"}


@block("日志级别和格式")
def log_shape(run):
    assert taken(run)["CUSTOM_PASS_LOG_LEVEL"] == "debug"
    # The examples have one shape, and every real line: a module's own, at DEBUG, may be prose.
    examples = [line[2:] for line in run.printed.splitlines() if line.startswith("# 2024")]
    value = r'(?:"(?:[^"\\]|\\.)*"|[^\s"]*)'
    shape = re.compile(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[(?:ERROR|WARN|INFO|DEBUG|TRACE)\] custompass: \w+"
        rf"(?: [\w.]+={value})*$")
    log = run.house.shell("cat /var/log/newapi.log").ok().text.splitlines()
    assert len(examples) == 3 and len(log) > 10
    prose = re.compile(r"\S+Z \[DEBUG\] \w+(?:::\w+)+: \S")
    for line in examples + log:
        assert shape.match(line) or prose.match(line), line
    for event in ("sync_request", "precharge_failed", "polling_tasks"):
        assert any(f" custompass: {event} " in line for line in log), event
