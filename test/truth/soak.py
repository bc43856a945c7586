"""Robustness over time: sessions, events, forks, an agent that is killed, a tracker that is away.

`npm run soak -- --minutes N`. In the first two fifths the agent is killed twice and stopped once;
what is left is one life of it, whose memory, descriptors and threads must not grow from its second third
to its last (ten minutes are long enough to see that), nor its answers be slow. Prints a line of figures
now and then and a table at the end: growth, answers, events, conservation, the CPU of all runs against
the processes' own clocks, and that each run was delivered whole, once. Exit status 1 where something is
past its bound.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
from typing import Any, Dict, List

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness.agent import Agent  # noqa: E402
from harness.exposition import fetch, parse  # noqa: E402
from harness.paths import PYTHON_CLIENT, WORKLOADS  # noqa: E402
from harness.receiver import Receiver  # noqa: E402
from harness.table import Table  # noqa: E402
from harness.truth import SharedAgent, Truth  # noqa: E402
from harness.watch import Look, Watch, low, median  # noqa: E402

CASE = "soak"
PROBE = "soak-probe"
LOOK_SECONDS = 2.0
LINES = 20  # of figures while it runs
SEED = 1
# When the agent goes, as shares of the whole time.
KILLS, STOP = (0.1, 0.25), 0.4
# When the tracker is away.
OUTAGES = ((0.15, 0.3), (0.6, 0.7))
LEAST_SECONDS = 60.0  # of a third of the last life
WARM_UP_SECONDS = 60.0  # of the last life
DOCUMENTS = 1000  # of ended runs, at most, that are looked at
DELIVERY_SECONDS = 120.0
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

MOST_GROWTH_SHARE, MOST_GROWTH_MIB = 0.05, 4.0
# What ends after a worker's exit record, its address space say, is known from its parent's cutime alone: in steps.
CUTIME_STEP_SECONDS, SHARE_AFTER_RECORD = 0.01, 0.1
MOST_ANSWER_MS = 50.0  # the median of the answers at a look; processors are shared with the load


class Soak:
    """Owns the agent, the load and the receiver."""

    def __init__(self, truth: Truth, options: argparse.Namespace) -> None:
        self.truth = truth
        self.seconds = options.minutes * 60
        self.sessions = options.sessions - 1  # and the probe: an owner may have 256 runs at a time
        self.events = options.events
        self.receiver = Receiver()
        self.folder = tempfile.mkdtemp(prefix="lezea-soak-")
        secret = os.path.join(self.folder, "webhook.key")
        with open(secret, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("whsec_" + SECRET)
        self.agent: Agent = truth.service(
            "webhook.enabled=true", "webhook.url=" + self.receiver.url,
            "webhook.secret_file=" + secret, "metrics.linger_seconds=20", "http.expose_run_names=true",
            "tracker.retry_most_ms=5000",
        )  # fmt: skip
        self.said = os.path.join(self.folder, "runs.jsonl")
        self.looks: List[Look] = []
        self.settled = 0.0  # when the last life of the agent was warm

    def load(self) -> "subprocess.Popen[bytes]":
        words = (self.agent.socket, self.sessions, self.events, int(self.seconds), SEED)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LEZEA_")}
        environment["PYTHONPATH"] = PYTHON_CLIENT
        with open(self.said, "wb") as said:
            return subprocess.Popen(
                [sys.executable, os.path.join(WORKLOADS, "soak.py"), *map(str, words)],
                env=environment, stdin=subprocess.DEVNULL, stdout=said, start_new_session=True,
            )  # fmt: skip

    def run(self) -> None:
        sleeper = subprocess.Popen(["sleep", str(int(self.seconds) + 600)])
        load = self.load()
        try:
            self.agent.ask("run.start", {"run_id": PROBE})
            probe = {"run_id": PROBE, "pid": sleeper.pid, "t_ns": time.monotonic_ns()}
            self.agent.ask("session.open", probe)
            self.watch(load)
            self.truth.holds("every session ended by itself", load.wait(self.seconds + 120) == 0)
            self.judge()
        finally:
            if load.poll() is None:
                os.killpg(load.pid, signal.SIGKILL)
            sleeper.kill()
            self.receiver.stop()
            shutil.rmtree(self.folder)

    def watch(self, load: "subprocess.Popen[bytes]") -> None:
        watch = Watch(self.agent, PROBE)
        begun = time.monotonic()
        going = [(share, "kill") for share in KILLS] + [(STOP, "stop")]
        every = max(1, round(self.seconds / LOOK_SECONDS / LINES))
        while load.poll() is None and time.monotonic() - begun < self.seconds:
            share = (time.monotonic() - begun) / self.seconds
            self.receiver.away = any(first <= share < last for first, last in OUTAGES)
            if going and share >= going[0][0]:
                getattr(self.agent, going.pop(0)[1])()
                self.agent.start()
                self.settled = time.monotonic() - begun + min(WARM_UP_SECONDS, self.seconds / 5)
            look = watch.look()
            self.looks.append(look)
            if len(self.looks) % every == 1:
                print(line(look), flush=True)
            time.sleep(LOOK_SECONDS)
        self.receiver.away = False

    def judge(self) -> None:
        self.judge_growth()
        self.judge_counters()
        runs = self.runs()
        self.judge_documents(runs)
        self.judge_delivery(runs)
        log = [line for line in self.agent.log_lines() if '"level":"error"' in line]
        self.truth.holds("no error in the agent's log", not log, "; ".join(log[:3])[:300])

    def judge_growth(self) -> None:
        last = [look for look in self.looks if look.at >= self.settled]
        third = len(last) // 3
        # Until then caches fill, SQLite's to 16 MiB, with what agents before this one stored too.
        middle, end = last[third : 2 * third], last[-third:]
        seconds = third * LOOK_SECONDS
        if seconds < LEAST_SECONDS:
            self.truth.holds("long enough to see growth", False, "%d s of each third" % seconds)
            return
        # Garbage comes and goes, by tens of MiB a minute: what is left after a collection is what grows.
        for figure, of, unit, absolute in (
            ("rss_mib", low, "MiB", MOST_GROWTH_MIB), ("descriptors", median, "", 8.0),
            ("threads", median, "", 2.0),
        ):  # fmt: skip
            before, after = of(middle, figure), of(end, figure)
            most = max(before * (1 + MOST_GROWTH_SHARE), before + absolute)
            said = "%.4g, was %.4g" % (after, before)
            self.truth.holds("%s, end against the middle: %s %s" % (figure, said, unit), after <= most, said)
        answer = median(last, "latency_p50_ms")
        slowest = max(look.latency_max_ms for look in last)
        said = "median %.2f ms, slowest %.0f ms" % (answer, slowest)
        self.truth.holds("answers to run.usage: " + said, answer <= MOST_ANSWER_MS, said)
        print("  agent's CPU, median: %.2f %% of a core" % median(last, "cpu_percent"))

    def judge_counters(self) -> None:
        families = parse(fetch(self.agent.http + "/metrics"))
        for name in (
            "lezea_agent_conservation_violations_total", "lezea_agent_decreased_totals_total",
            "lezea_agent_lost_records_total", "lezea_agent_forged_records_total",
            "lezea_agent_undefined_records_total", "lezea_agent_checkpoint_failures_total",
        ):  # fmt: skip
            self.truth.within(name, 0, sum(families[name].values()), "")

    def runs(self) -> List[Dict[str, Any]]:
        with open(self.said, encoding="ascii") as said:
            runs = [json.loads(text) for text in said]
        self.truth.holds("%d runs ended" % len(runs), len(runs) >= self.sessions, str(len(runs)))
        return runs

    def judge_documents(self, runs: List[Dict[str, Any]]) -> None:
        chosen = random.Random(SEED).sample(runs, min(DOCUMENTS, len(runs)))
        unequal, missing, least, most, measured, activations, unseen = [], [], 0.0, 0.0, 0.0, 0.0, 0.0
        for run in chosen:
            try:
                path = "/api/v1/runs/" + urllib.parse.quote(run["run_id"])
                document = json.loads(fetch(self.agent.http + path))
            except OSError as error:
                missing.append("%s: %s" % (run["run_id"], error))
                continue
            if any(line["residual"] != "0" for line in document["conservation"].values()):
                unequal.append(run["run_id"])
            least, most = least + run["cpu_seconds"][0], most + run["cpu_seconds"][1]
            unseen += min(CUTIME_STEP_SECONDS, run["workers_seconds"] * SHARE_AFTER_RECORD)
            measured += document["totals"]["cpu_seconds"]["value"]
            activations += document["totals"].get("activations", {}).get("value", 0)
        known = "every one of %d runs is known" % len(chosen)
        self.truth.holds(known, not missing, "; ".join(missing[:3]))
        conserved = "scopes and unattributed are the total of each"
        self.truth.holds(conserved, not unequal, ", ".join(unequal[:3]))
        clocks = "CPU of them, by the processes' own clocks less %.2f s" % unseen
        self.truth.between(clocks, least - unseen, most, measured, "s", share=0.01)
        whole = activations * 2 * len(runs) / max(1, len(chosen)) / self.seconds
        print("  events: %.0f/s" % whole)
        self.truth.holds("events a second", whole >= self.events / 2, "%.0f" % whole)

    def judge_delivery(self, runs: List[Dict[str, Any]]) -> None:
        wanted = {run["run_id"] for run in runs}
        deadline = time.monotonic() + DELIVERY_SECONDS
        while not wanted <= self.receiver.whole() and time.monotonic() < deadline:
            time.sleep(1)
        missing = sorted(wanted - self.receiver.whole())
        said = "%d not: %s" % (len(missing), missing[:3])
        self.truth.holds("every run was delivered whole", not missing, said)
        doubled = self.receiver.doubled()
        self.truth.holds("none twice", not doubled, ", ".join(doubled[:3]))
        refused = self.receiver.refused
        self.truth.holds("the tracker was away: %d requests" % refused, refused > 0)


def line(look: Look) -> str:
    figures = "  %5.0f s  rss %6.1f MiB  descriptors %4d  threads %3d" % (
        look.at, look.rss_mib, look.descriptors, look.threads,
    )  # fmt: skip
    return figures + "  run.usage p50 %6.2f ms max %7.2f ms  CPU %6.2f %%" % (
        look.latency_p50_ms, look.latency_max_ms, look.cpu_percent,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="npm run soak --", description=__doc__.splitlines()[0])
    for name, kind, default, unit in (
        ("--minutes", float, 10, ""), ("--sessions", int, 256, ""),
        ("--events", int, 10_000, "a second, "),
    ):  # fmt: skip
        says = "%sdefault %%(default)s" % unit
        parser.add_argument(name, type=kind, default=default, metavar="N", help=says)
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    chosen = parser.parse_args()
    table = Table(None if chosen.json else sys.stdout)
    with Truth(CASE, table, SharedAgent()) as truth:
        Soak(truth, chosen).run()
    if chosen.json:
        table.write_json()
    print(table.counts(), file=sys.stderr if chosen.json else sys.stdout)
    return 0 if table.ok else 1


if __name__ == "__main__":
    sys.exit(main())
