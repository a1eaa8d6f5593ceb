"""What no schema says of the Kubernetes manifests and the compose file, but must hold.

They are read as they are; the schema itself is checked by kubernetes-validate, where it is installed.
"""

import json
import pathlib
import re
import sys

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[1]


def kubernetes(bad):
    files = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]
    on_disk = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    bad(set(files) | {"kustomization.yaml", "secret.example.yaml"} == on_disk, "a file is left out")
    documents = {}
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            documents[document["kind"], document.get("metadata", {}).get("name")] = document
    deployment = documents["Deployment", "newapi"]["spec"]
    pod = deployment["template"]["spec"]
    container = pod["containers"][0]
    labels = deployment["template"]["metadata"]["labels"].items()
    selectors = [
        deployment["selector"]["matchLabels"],
        documents["Service", "newapi"]["spec"]["selector"],
        documents["Service", "newapi-metrics"]["spec"]["selector"],
        documents["PodDisruptionBudget", "newapi"]["spec"]["selector"]["matchLabels"],
        documents["NetworkPolicy", "newapi"]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        bad(selector and selector.items() <= labels, f"{selector} does not select the pods")
    settings = documents["ConfigMap", "newapi"]["data"]
    secrets = documents["Secret", "newapi"]["stringData"]
    known = (DEPLOY.parent / "crates/gateway/src/config/table.rs").read_text()
    for name in [*settings, *secrets]:
        bad(f'"{name}"' in known, f"{name} is not a setting")
    bad(all(isinstance(value, str) for value in settings.values()), "a setting is not text")
    mib = {"Mi": 1, "MiB": 1, "Gi": 1024, "GiB": 1024}
    size = lambda text: int(re.match(r"\d+", text)[0]) * mib[re.sub(r"\d+", "", text)]
    limit = size(container["resources"]["limits"]["memory"])
    bad(size(settings["MEMORY_LIMIT"]) < limit, "MEMORY_LIMIT is not below the container's")
    stop = int(settings["SHUTDOWN_TIMEOUT"].rstrip("s"))
    stop += container["lifecycle"]["preStop"]["sleep"]["seconds"]
    bad(stop < pod["terminationGracePeriodSeconds"], "a stop is killed before its time")
    backup = documents["CronJob", "newapi-backup"]["spec"]["jobTemplate"]["spec"]["template"]
    others = backup["metadata"]["labels"].items()
    bad(not any(s.items() <= others for s in selectors), "a backup's pod would get calls")
    claims = [v["persistentVolumeClaim"]["claimName"] for v in backup["spec"]["volumes"]
              if "persistentVolumeClaim" in v]
    for claim in claims:
        bad(("PersistentVolumeClaim", claim) in documents, f"the claim {claim} is not made")
    for spec in (pod, backup["spec"]):
        restricted(bad, spec, spec["containers"][0])
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        bad(container[probe]["httpGet"]["port"] in ports, f"{probe} asks no port of the container")
    bad(deployment["replicas"] > 1, "one pod is no several")


def restricted(bad, pod, container):
    """The restricted profile of the pod security standards, which the namespace enforces."""
    both = {**pod["securityContext"], **container["securityContext"]}
    bad(both["runAsNonRoot"] and both["seccompProfile"]["type"] == "RuntimeDefault", "not restricted")
    bad(both["allowPrivilegeEscalation"] is False, "privileges may be gained")
    bad(both["capabilities"] == {"drop": ["ALL"]}, "capabilities are kept")
    bad(both["readOnlyRootFilesystem"], "the root file system can be written")
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    bad(mounts == volumes, f"volumes {volumes}, mounted {mounts}")


def compose(bad):
    document = yaml.safe_load((DEPLOY / "docker/compose.yml").read_text())
    for name, service in document["services"].items():
        # What runs once and ends has a profile, and is not started with the others.
        bad("healthcheck" in service or "profiles" in service, f"{name} has no health check")
        for secret in service.get("secrets", []):
            bad(secret in document["secrets"], f"{name}: secret {secret} is not declared")
        for volume in service.get("volumes", []):
            bad(volume.split(":")[0] in document["volumes"], f"{name}: volume {volume}")
        for other in service.get("depends_on", {}):
            bad(other in document["services"], f"{name} waits for {other}")
    text = (DEPLOY / "docker/Dockerfile").read_text()
    for name in ("newapi", "backup"):
        build = document["services"][name]["build"]
        context = (DEPLOY / "docker" / build["context"]).resolve()
        bad((context / build["dockerfile"]).is_file(), "the Dockerfile is not where compose looks")
        target = build.get("target")
        bad(target is None or f" AS {target}\n" in text, f"the Dockerfile has no target {target}")
    # pg_dump refuses a server that is newer than itself.
    server = re.match(r"postgres:(\d+)", document["services"]["postgres"]["image"])[1]
    bad(f"POSTGRES_VERSION={server}\n" in text, f"the tools are not PostgreSQL {server}'s")


def dockerfile(bad):
    text = (DEPLOY / "docker/Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = {line.split()[0] for line in lines}
    allowed = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE",
               "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    bad(words <= allowed, f"no instructions: {words - allowed}")
    stages = [n for n, line in enumerate(lines) if line.startswith("FROM")]
    tools, last = lines[stages[-2] : stages[-1]], lines[stages[-1] :]
    for stage in (tools, last):
        user = [line.split()[1] for line in stage if line.startswith("USER")]
        bad(user and re.fullmatch(r"[1-9]\d*:[1-9]\d*", user[-1]), f"{stage[0]}: runs as root")
    bad(any(line.startswith("HEALTHCHECK") for line in last), "no health check")
    bad(not any(line.startswith("RUN") for line in last), "the last stage has no shell to RUN in")
    for line in last:
        if line.startswith(("ENTRYPOINT", "CMD")):
            bad(isinstance(json.loads(line.split(None, 1)[1]), list), f"needs a shell: {line}")
    rust = re.search(r'channel = "([^"]+)"', (DEPLOY.parent / "rust-toolchain.toml").read_text())[1]
    bad(f"RUST_VERSION={rust}" in text, f"the image's Rust is not {rust}, as rust-toolchain.toml says")


def main():
    found = []
    bad = lambda holds, what: None if holds else found.append(what)
    for check in (kubernetes, compose, dockerfile):
        check(lambda holds, what, name=check.__name__: bad(holds, f"{name}: {what}"))
    print("\n".join(found) or "manifests, compose file and Dockerfile hold together")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
