"""Blocks that read the log, the metrics, and the alert rules."""

import json
import pathlib
import re
import subprocess
import urllib.parse
import urllib.request

from checks import block
from house import LOG, wait_until

PROMETHEUS_PORT = 9091
# Of the rules' patience: what is tried here is that they fire, not how long they wait.
SOON = "1s"
# Panels of what this installation has none of: webhooks, and channels that fail so often.
MAY_BE_EMPTY = {"Webhooks", "Channels left alone"}


@block("常用日志查询")
def searches(run):
    seen = run(until=[r"duration=\d+\.\d+s", r"\[ERROR\] custompass: precharge_failed",
                      r"user_id=123 "])
    seen.has(r"custompass: sync_request user_id=123 .*duration=\d+\.\d{3}s")
    # What is written from now on is seen as well.
    follow = run.text.splitlines()[-1]
    assert follow.startswith("tail -f"), follow
    run.house.call("marker=1")
    run.house.shell(follow, until=[r"custompass: sync_request"])


@block("日志分析脚本")
def analysis(run):
    house = run.house
    for _ in range(3):
        assert house.call("status=429") == 429
    lines = [line for line in LOG.read_text(encoding="utf-8").splitlines()
             if re.search(r" custompass: (sync|async)_request ", line)]
    # All that is logged here is of the last hour. The log's own thread may still be writing.
    ran = run().ok().has(r"错误统计", r"响应时间分析", r"=== 分析完成 ===")
    for event in ("sync_request", "async_request"):
        counted = re.search(rf"^ *(\d+) {event}$", ran.text, re.M)
        assert counted and int(counted[1]) >= sum(f" {event} " in line for line in lines), ran.text
    total = re.search(r"平均: [0-9.]+s, 最小: [0-9.]+s, 最大: [0-9.]+s, 总数: (\d+)", ran.text)
    assert int(total[1]) >= len(lines), ran.text
    ran.has(r"^ *\d+ 123$", r'^ *[1-9]\d* "status$')
    told = house.shell("/opt/newapi/newapi logs analyze --hours 1 --file /var/log/newapi.log").ok()
    for event in ("sync_request", "async_request"):
        counted = re.search(rf"^ *(\d+) {event}$", ran.text, re.M)[1]
        by_status = re.findall(rf"^ *(\d+)  {event} \w+$", told.text, re.M)
        assert sum(map(int, by_status)) == int(counted), ran.text + told.text


@block("关键指标监控")
def monitor(run):
    house = run.house
    run().ok()
    assert pathlib.Path("/srv/crontab").read_text(encoding="ascii") == \
        "*/5 * * * * /opt/newapi/scripts/custompass_monitor.sh\n"
    for _ in range(11):
        assert house.call("status=429") == 429
    metrics = house.metrics()
    ran = house.shell("/opt/newapi/scripts/custompass_monitor.sh").ok().lacks("syntax error")
    errors, tasks = re.search(r"RPS=[0-9.]+, Errors=(\d+), Tasks=(\d+)$", ran.text, re.M).groups()
    counted = sum(value for name, value in metrics.items()
                  if name.startswith("custompass_requests_total{") and 'status="error"' in name)
    assert int(errors) == counted >= 11, ran.text
    assert int(tasks) == metrics['custompass_tasks_in_queue{status="submitted"}'] >= 1, ran.text
    ran.has(rf"ALERT: High error rate: {errors} errors")


def prometheus(*rules):
    """Starts a real one with these files of rules."""
    home = pathlib.Path("/srv/prometheus")
    home.mkdir()
    for number, text in enumerate(rules):
        (home / f"rules-{number}.yml").write_text(text, encoding="utf-8")
    (home / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules-*.yml"],
        "scrape_configs": [{
            "job_name": "newapi", "static_configs": [{"targets": ["localhost:9090"]}],
        }],
    }), encoding="utf-8")
    with open(home / "out", "wb") as out:
        return subprocess.Popen(
            ["prometheus", f"--config.file={home}/prometheus.yml",
             f"--storage.tsdb.path={home}/data",
             f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"], stdout=out, stderr=out)


def ask(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/{path}") as response:
        return json.load(response)["data"]


def firing():
    return {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"]
            if alert["state"] == "firing"}


def scraped():
    try:
        return [target["health"] for target in ask("targets")["activeTargets"]] == ["up"]
    except OSError:
        return False


def rules_work():
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    bad = [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"]
    assert len(rules) > 20 and not bad, bad


def panels_have_data():
    """Each query of the dashboard finds something in what this Prometheus has scraped."""
    dashboard = json.loads(
        pathlib.Path("/srv/deploy/grafana/newapi.json").read_text(encoding="utf-8"))
    empty = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            found = ask("query?" + urllib.parse.urlencode({"query": query}))["result"]
            if not any(sample["value"][1] != "NaN" for sample in found):
                empty.add(panel["title"])
    assert empty <= MAY_BE_EMPTY, empty


@block("告警配置")
def alerts(run):
    house = run.house
    rules = pathlib.Path("/srv/home/prometheus-alerts.yml")
    rules.write_text(run.text, encoding="utf-8")
    house.shell(f"promtool check rules {rules}").ok().has("SUCCESS: 2 rules found")
    ours = pathlib.Path("/srv/deploy/prometheus/alerts.yml").read_text(encoding="utf-8")
    both = {"CustomPassHighErrorRate", "CustomPassTaskQueueBacklog"}
    # Ours has the handbook's two as well: under one name, two groups would write one series, and
    # the samples of one of them would at times be out of order.
    for name in both:
        ours = ours.replace(f"alert: {name}\n", f"alert: Our{name}\n")
    server = prometheus(re.sub(r"for: \w+", f"for: {SOON}", run.text), ours)
    house.started.append(server)
    wait_until(scraped, "a scrape", 30)
    assert not firing() & both, firing()
    for _ in range(20):
        assert house.call("status=429") == 429
    # Nobody asks about them: their upstream hangs, but for this moment, in which it takes them.
    house.slow_upstream.send_signal(house.GO_ON)
    for _ in range(101):
        house.submit("slow-render", "polls=1000000")
    house.slow_upstream.send_signal(house.HANG)
    wait_until(lambda: firing() >= both, "the alerts", 40)
    rules_work()
    panels_have_data()
    server.terminate()
    server.wait(20)
