"""Blocks about the way to the upstream."""

import pathlib
import re

from checks import block


@block("问题：渠道测试失败")
def upstream_by_hand(run):
    run().has(r"HTTP/1\.1 200 OK", r"SSL certificate verify ok", r"Address: 127\.0\.0\.1",
              r"Connected to upstream-api\.com")
    # And as newapi reaches it.
    path = f"/api/channel/test/{run.house.channel_id}?model=gpt-4"
    told = run.house.api("GET", path)
    assert told, told


@block("问题：同步请求超时")
def times(run):
    comments = re.findall(r"^#( +(?:time_|---).*)$", run.printed, re.M)
    assert len(comments) == 8, comments
    pathlib.Path("/srv/home/curl-format.txt").write_text("\n".join(comments), encoding="utf-8")
    before = run.house.balances()
    ran = run().ok().has(r"time_connect: +0\.\d+")
    total = re.search(r"time_total: +([0-9.]+)$", ran.text, re.M)
    assert 0 < float(total[1]) < 5, total[0]
    assert run.house.balances() != before, "a call that cost nothing"


@block("问题：同步请求超时", 3)
def upstream_time(run):
    run().ok().has(r'"usage":', r"^real\s+0m[0-4]\.\d+s$")


@block("问题：上游API连接失败")
def dns_and_firewall(run):
    run().has(r"Address: 127\.0\.0\.1", r"upstream-api\.com\.\s+60\s+IN\s+A\s+127\.0\.0\.1",
              r"Connected to upstream-api\.com", r"HTTP/1\.1 200 OK")
    asked = pathlib.Path("/srv/asked").read_text(encoding="utf-8").splitlines()
    assert asked[-2:] == ["iptables -L -n", "ufw status"], asked[-3:]


@block("问题：上游API连接失败", 2)
def name_servers(run):
    run().ok()
    servers = pathlib.Path("/etc/resolv.conf").read_text(encoding="ascii").split()[1::2]
    assert servers == ["127.0.0.1", "8.8.8.8", "8.8.4.4"], servers
    run.house.shell("nslookup upstream-api.com").ok().has(r"Address: 127\.0\.0\.1")
    assert run.house.call() == 200
