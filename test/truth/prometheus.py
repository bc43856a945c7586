"""The real Prometheus scrapes the agent under load, with the agent killed and restarted half way.

`npm run truth:prometheus`; needs Debian's prometheus package (with promtool). Checks that no
scrape fails but while the agent is down, that promtool finds nothing to say, that every counter of
runs, scopes and the node is monotone across the restart, and that no series is lost by it. Then what deploy/ has for it
(deployed.py).
"""

import argparse
import os
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import deployed  # noqa: E402
from harness.agent import Agent  # noqa: E402
from harness.exposition import Labels, fetch  # noqa: E402
from harness.prometheus import INTERVAL_SECONDS, Prometheus, Samples  # noqa: E402
from harness.table import Row, Table  # noqa: E402
from harness.truth import SharedAgent, Truth  # noqa: E402

CASE = "prometheus"
DOWN_SECONDS = 3.0
NEEDS = ("prometheus", "promtool")
# Families of the agent process itself begin anew with it, as any program's.
OWN = "lezea_agent_"
# What the expressions of its alert rules read, but for GPUs, which are not measured yet.
LEZEA = (
    "lezea_cpu_utilization_percent",
    "lezea_memory_available_bytes / lezea_memory_total_bytes",
    "lezea_memory_used_bytes",
    "rate(lezea_network_bytes_sent_total[5m]) + rate(lezea_network_bytes_received_total[5m])",
    'lezea_service_up{service_name="lezea-monitor"} == 1',
    "predict_linear(lezea_disk_used_bytes[1h], 24 * 3600) / lezea_disk_total_bytes",
)


def name_of(labels: Labels) -> str:
    return dict(labels)["__name__"]


def falls(samples: Samples, since: float = 0.0, until: float = 0.0) -> int:
    """How often the series fell, not counting falls between the two times."""
    count = 0
    for (_, before), (t, after) in zip(samples, samples[1:]):
        if after < before and not since <= t <= until:
            count += 1
    return count


def check_promtool(truth: Truth, agent: Agent, when: str) -> None:
    text = fetch(agent.http + "/metrics")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    said = (done.stdout + done.stderr).decode().strip()
    clean = done.returncode == 0 and not said
    truth.holds("promtool check metrics, %s" % when, clean, said[:300])


def check_scrapes(truth: Truth, prometheus: Prometheus, seconds: float, down: Samples) -> None:
    """down: (Unix time, _) of the kill and of being ready again."""
    (killed, _), (ready, _) = down
    (up,) = prometheus.samples('up{job="lezea"}', seconds).values()
    failed = [t for t, value in up if value != 1]
    first, last = killed - INTERVAL_SECONDS, ready + INTERVAL_SECONDS
    unexplained = [t for t in failed if not first <= t <= last]
    truth.within("scrapes that failed while the agent was up", 0, len(unexplained), "")
    worked = len(up) - len(failed)
    wanted = 0.8 * (seconds - (ready - killed)) / INTERVAL_SECONDS
    truth.holds("scrapes that worked: %d in %.0f s" % (worked, seconds), worked >= wanted)
    truth.holds("the outage was noticed", len(failed) > 0)
    target = prometheus.target()
    truth.holds("the last scrape", target["health"] == "up", target["lastError"])
    truth.within("samples that Prometheus refused", 0, prometheus.refused(), "")


def check_counters(truth: Truth, prometheus: Prometheus, seconds: float, down: Samples) -> None:
    (killed, _), (ready, _) = down
    counters = prometheus.samples('{__name__=~"lezea_.*_total"}', seconds)
    runs = {k: s for k, s in counters.items() if not name_of(k).startswith(OWN)}
    own = {k: s for k, s in counters.items() if name_of(k).startswith(OWN)}
    falling = sorted({name_of(labels) for labels, samples in runs.items() if falls(samples)})
    truth.holds("%d counters of runs, scopes, node: monotone" % len(runs), not falling,
                ", ".join(falling))  # fmt: skip
    margin = 2 * INTERVAL_SECONDS
    falling = sorted({
        name_of(labels) for labels, samples in own.items()
        if falls(samples, killed - margin, ready + margin)
    })  # fmt: skip
    truth.holds("%d of the agent: but at its restart" % len(own), not falling, ", ".join(falling))
    lost = sorted(
        "%s%s" % (name_of(k), dict(k))
        for k, samples in runs.items()
        if samples[0][0] < killed and samples[-1][0] < ready
    )
    truth.holds("series that did not come back", not lost, "; ".join(lost[:3]))
    scopes = [k for k in runs if name_of(k) == "lezea_scope_cpu_seconds_total"]
    truth.holds("%d scope series among them" % len(scopes), len(scopes) >= 4)


def check_total(truth: Truth, prometheus: Prometheus, agent: Agent, run_id: str) -> None:
    """What Prometheus has of the ended run is what the document says."""
    document = truth.document(run_id, agent)
    selector = 'lezea_scope_cpu_seconds_total{run="%s"}' % run_id
    last = prometheus.samples(selector, 10 * INTERVAL_SECONDS)
    stored = sum(samples[-1][1] for samples in last.values())
    truth.within("sum of its scopes, as stored", document.total("cpu_seconds") or -1, stored, "s",
                 absolute=1e-6)  # fmt: skip


def check_lezea(truth: Truth, prometheus: Prometheus) -> None:
    """What LeZeA's alert rules compute has figures, and they are the node's."""
    for expression in LEZEA:
        found = prometheus.evaluate(expression)
        truth.holds("LeZeA's rules: %s" % expression, len(found) > 0, "no series")
    space = os.statvfs("/")
    total = prometheus.evaluate('lezea_disk_total_bytes{mount_point="/"}')
    if total:
        truth.within("its disk's size", space.f_blocks * space.f_frsize, max(total.values()), "B")
    else:
        truth.skip("its disk's size", "the root is on no disk of the machine")
    labels = {name for series in prometheus.evaluate('{__name__=~"lezea_.*"}') for name, _ in series}
    truth.holds("no label component, which LeZeA overwrites", "component" not in labels)
    gpus = prometheus.evaluate('{__name__=~"lezea_gpu_.*_(percent|celsius|watts)"}')
    truth.holds("no GPU figure that nobody measured", not gpus, str(gpus)[:200])


def scrape(truth: Truth, seconds: float) -> None:
    agent = truth.own_agent("http.expose_run_names=true", "metrics.lezea_compat=true")
    target = agent.http.split("://", 1)[1]
    run_id = truth.run_id("load")
    with Prometheus(target) as prometheus:
        begun = time.time()
        load = truth.start("long", run_id, seconds, agent=agent, leaf=None)
        load.line()
        time.sleep(seconds / 4)
        check_promtool(truth, agent, "under load")
        time.sleep(max(0.0, begun + seconds / 2 - time.time()))
        killed = time.time()
        agent.kill()
        time.sleep(DOWN_SECONDS)
        agent.start()
        down = [(killed, 0.0), (time.time(), 1.0)]
        load.finish(seconds + 60)
        time.sleep(3 * INTERVAL_SECONDS)
        check_promtool(truth, agent, "after the run")
        total = time.time() - begun
        check_scrapes(truth, prometheus, total, down)
        check_counters(truth, prometheus, total, down)
        check_total(truth, prometheus, agent, run_id)
        check_lezea(truth, prometheus)
    agent.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of load (default 60)")
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    chosen = parser.parse_args()
    table = Table(None if chosen.json else sys.stdout)
    missing = [name for name in NEEDS if shutil.which(name) is None]
    if missing:
        why = "no %s: apt-get install -y prometheus" % ", ".join(missing)
        table.add(Row(CASE, "the case", "", skipped=why))
    else:
        with Truth(CASE, table, SharedAgent()) as truth:
            scrape(truth, chosen.seconds)
        with Truth(deployed.CASE, table, SharedAgent()) as truth:
            deployed.deployed(truth)
    if chosen.json:
        table.write_json()
    print(table.counts(), file=sys.stderr if chosen.json else sys.stdout)
    return 0 if table.ok else 1


if __name__ == "__main__":
    sys.exit(main())
