"""What deploy/ has for Prometheus and Grafana: the real Prometheus, and an agent with all to show.

It has GPUs on the NVML double (one busy for a run, one with XIDs, one that is lost), a run in
nested scopes, an ended one that a dead place does not take, and clients that are refused. Checked:
every query of every dashboard has figures, every rule evaluates, and what fires is what should.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from typing import Set

from harness.agent import Agent, Refused
from harness.dashboards import queries
from harness.exposition import fetch
from harness.paths import COMMAND, REPOSITORY
from harness.ports import free_port
from harness.prometheus import INTERVAL_SECONDS, Prometheus
from harness.truth import Truth

CASE = "deploy"
FOLDER = os.path.join(REPOSITORY, "deploy", "prometheus")
RULES = [os.path.join(FOLDER, name) for name in ("rules.yml", "alerts.yml")]
WITHIN_SECONDS = 45
GPU = "GPU-0000000%d-1111-2222-3333-444444444444"
SCENARIO = """clock real
driver 575.57.08
gpu uuid=%(0)s name=NVIDIA_H200 pci=00000000:0F:00.0 gpm=1
gpu uuid=%(1)s name=NVIDIA_H200 pci=00000000:1F:00.0 gpm=1
gpu uuid=%(2)s name=NVIDIA_H200 pci=00000000:2F:00.0
process 0 pid=%(pid)d memory_mib=1000 period_ms=1000 busy_ms=600 sm_percent=50
field 0 3 type=u64 value=2
field 0 4 type=u64 value=0
field 0 74 type=u64 value=5000000 per_second=1000000
field 0 82 type=u32 value=41
field 0 138 scope=4294967295 type=u64 value=1000 per_second=10
field 0 139 scope=4294967295 type=u64 value=2000 per_second=20
field 0 142 type=u32 value=1
field 0 144 type=u32 value=0
field 0 145 type=u32 value=0
field 0 197 type=u64 value=7000 per_second=1
field 0 198 type=u64 value=7000 per_second=1
xid 1 79 at_ms=3000
xid 1 31 at_ms=3000
fail * 15 gpu=2 from_ms=3000
"""
# At once, on this machine; what needs longer than this case lasts is what promtool tests.
FIRING = ["LezeaGpuLost", "LezeaGpuXid", "LezeaGpuXidOfProgram", "LezeaRequestsRefused"]
RAPL = re.compile(r"lezea_node_rapl_|lezea_scope_cpu_energy_")


def place_double(folder: str, pid: int) -> str:
    """The NVML double with its scenario beside it; the path of the library."""
    built = subprocess.run(
        ["node", os.path.join(REPOSITORY, "scripts", "nvml-double.mjs")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    library = os.path.join(built.stdout.splitlines()[-1], "current", "libnvidia-ml.so.1")
    gpus = {str(i): GPU % i for i in range(3)}
    with open(os.path.join(folder, "scenario"), "w", encoding="ascii") as file:
        file.write(SCENARIO % {**gpus, "pid": pid})
    return shutil.copy(library, folder)


def dead_webhook(folder: str) -> "list[str]":
    """Settings of a place where nobody listens."""
    secret = os.path.join(folder, "secret")
    with open(secret, "w", encoding="ascii") as file:
        file.write(os.urandom(24).hex())
    os.chmod(secret, 0o600)
    url = "http://127.0.0.1:%d/" % free_port()
    return ["webhook.enabled=true", "webhook.url=" + url, "webhook.secret_file=" + secret]


def end_a_run(agent: Agent) -> None:
    command = ["run", "--socket", agent.socket, "--run-id", "ended", "--quiet", "--", "true"]
    subprocess.run(COMMAND + command, check=True, timeout=30)


def be_refused(agent: Agent) -> None:
    """By a limit, by HTTP, and made to wait."""
    for params in ({"run_id": "no such run"}, {"run_id": "named", "name": "x" * 6000}):
        try:
            agent.ask("run.start", params)
        except Refused:
            continue
        raise AssertionError("run.start took %s" % params)
    request = urllib.request.Request(agent.http + "/metrics", headers={"Host": "elsewhere.example"})
    try:
        urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        error.close()
    crowd(agent)


def crowd(agent: Agent) -> None:
    """More answers than are kept for one that does not read them: it is not read until it does."""
    hello = {"client": "truth", "version": "1", "protocols": [1]}
    lines = [{"jsonrpc": "2.0", "id": 0, "method": "hello", "params": hello}]
    lines += [{"jsonrpc": "2.0", "id": i, "method": "node.status"} for i in range(1, 1000)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(agent.socket)
        connection.sendall("".join(json.dumps(line) + "\n" for line in lines).encode())
        deadline = time.monotonic() + 10
        while "lezea_agent_waits_total{" not in fetch(agent.http + "/metrics"):
            assert time.monotonic() < deadline, "nobody had to wait"
            time.sleep(0.05)


def without_figures(prometheus: Prometheus, expressions: Set[str]) -> Set[str]:
    """Those that have none in time: rates need two scrapes, and NVML a few seconds."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while expressions and time.monotonic() < deadline:
        time.sleep(INTERVAL_SECONDS)
        expressions = {one for one in expressions if not prometheus.evaluate(one)}
    return expressions


def check_dashboards(truth: Truth, prometheus: Prometheus, agent: Agent, run_id: str) -> None:
    node = agent.http.split("://", 1)[1]
    values = {"instance": node, "run": run_id, "gpu": ".*", "level": ".*"}
    values.update(__rate_interval="10s", __range="60s")
    asked = list(queries(values))
    energy = agent.source("cpu_energy")
    # Virtual machines have no RAPL; unknown is absent.
    unknown = [q for q in asked if energy["state"] != "ok" and RAPL.search(q.expression)]
    asked = [query for query in asked if query not in unknown]
    without = without_figures(prometheus, {query.expression for query in asked})
    silent = [query for query in asked if query.expression in without]
    for name in sorted({query.dashboard for query in asked}):
        count = sum(query.dashboard == name for query in asked)
        said = ["%s: %s" % (q.where, q.expression) for q in silent if q.dashboard == name]
        truth.holds("%s: %d queries have figures" % (name, count), not said, "; ".join(said))
    if unknown:
        said = [query.expression for query in unknown if prometheus.evaluate(query.expression)]
        what = "%d of the CPU's energy have none: %s" % (len(unknown), energy["reason"])
        truth.holds(what, not said, "; ".join(said))


def check_rules(truth: Truth, prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    bad = ["%s: %s" % (r["name"], r["lastError"]) for r in rules if r["health"] != "ok"]
    truth.holds("%d rules evaluate" % len(rules), len(rules) > 40 and not bad, "; ".join(bad))
    records = {rule["name"] for rule in rules if rule["type"] == "recording"}
    silent = without_figures(prometheus, records)
    truth.holds("%d recordings have figures" % len(records), not silent, ", ".join(silent))
    rules = prometheus.rules()
    firing = [rule for rule in rules if rule.get("state") == "firing"]
    names = sorted(rule["name"] for rule in firing)
    truth.holds("firing: %s" % ", ".join(FIRING), names == FIRING, ", ".join(names))
    said = [text for r in firing for a in r["alerts"] for text in a["annotations"].values()]
    empty = [text for text in said if "<no value>" in text or "<error" in text or "{{" in text]
    truth.holds("their texts name what they are of", len(said) > 0 and not empty, "; ".join(empty))


def deployed(truth: Truth) -> None:
    agent = truth.later_agent()
    run_id = truth.run_id("nested")
    work = truth.start("nested", run_id, agent.folder, agent=agent)
    library = place_double(agent.folder, work.pid)
    settings = ["http.expose_run_names=true", "gpu.nvml_library=" + library]
    agent.start(settings + dead_webhook(agent.folder))
    work.line()
    with Prometheus(agent.http.split("://", 1)[1], RULES) as prometheus:
        end_a_run(agent)
        be_refused(agent)
        check_dashboards(truth, prometheus, agent, run_id)
        check_rules(truth, prometheus)
    agent.stop()
