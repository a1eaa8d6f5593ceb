"""Whether every metric that rules, their tests and the dashboard name is one that the program has,
and every alert has been seen to fire.

A name that nobody registers is no error to Prometheus: the alert just never fires. Whether the
dashboard's queries find anything is tried on a real server, by tests/handbook.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORMS = ("", "_total", "_info", "_bucket", "_sum", "_count")
# Made by Prometheus itself.
OTHERS = {"up"}
NAME = re.compile(r"\b(?:custompass|process|newapi)_[a-z_]+")


def registered():
    names = set()
    for path in sorted(ROOT.glob("crates/*/src/**/*.rs")):
        text = path.read_text()
        names.update(re.findall(r'"((?:custompass|process|newapi)_[a-z_]+)"', text))
        # A family of names: format!("custompass_database_connections_{name}"), and its members.
        for stem in re.findall(r'format!\("(custompass_[a-z_]+_)\{name\}"\)', text):
            names.update(stem + word for word in re.findall(r'\("([a-z]+)", "', text))
    return {name + form for name in names for form in FORMS}


def expressions():
    dashboard = json.loads((ROOT / "deploy/grafana/newapi.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard, {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"dashboard, {variable['name']}", variable["query"]["query"]
    import yaml

    for group in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for test in yaml.safe_load((ROOT / "deploy/prometheus/alerts_test.yml").read_text())["tests"]:
        for series in test["input_series"]:
            yield f"test, {test['name']}", series["series"]


def untested():
    """Alerts that no test has seen fire."""
    import yaml

    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    tests = yaml.safe_load((ROOT / "deploy/prometheus/alerts_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"]
             if one["exp_alerts"]}
    return [rule["alert"] for group in groups for rule in group["rules"]
            if rule["alert"] not in fired]


def rules(path):
    """Each expression as a rule of its own, for promtool to read: Grafana's words filled in."""
    import yaml

    filled = []
    for place, text in expressions():
        if place.startswith("dashboard") and "label_values" not in text:
            text = text.replace("$__rate_interval", "5m").replace("$instance", ".*")
            filled.append({"record": f"panel:{len(filled)}", "expr": text})
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": filled}]}))


def main():
    if len(sys.argv) > 1:
        rules(pathlib.Path(sys.argv[1]))
    known = registered()
    bad, count = [f"{name}: no test sees it fire" for name in untested()], 0
    for place, text in expressions():
        # What stands in quotes is a label's value.
        for name in NAME.findall(re.sub(r'"[^"]*"', '""', text)):
            count += 1
            if name not in known and name not in OTHERS:
                bad.append(f"{place}: {name} is not a metric of newapi")
    print("\n".join(bad) or f"{count} names of metrics are known")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
