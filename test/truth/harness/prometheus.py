"""The real Prometheus, scraping one target once a second, and what it then has in its store."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.parse
from typing import Any, Dict, List, Sequence, Tuple

from .exposition import Labels, fetch, parse
from .ports import free_port

INTERVAL_SECONDS = 1.0
READY_SECONDS = 30
CONFIG = """
global:
  scrape_interval: %(interval)gs
  scrape_timeout: %(interval)gs
  evaluation_interval: %(interval)gs
rule_files: %(rules)s
scrape_configs:
  - job_name: lezea
    static_configs: [{targets: ["%(target)s"]}]
"""
# Counters of Prometheus itself: samples that a scrape offered and it could not take.
REFUSED = (
    "prometheus_target_scrapes_sample_duplicate_timestamp_total",
    "prometheus_target_scrapes_sample_out_of_order_total",
    "prometheus_target_scrapes_sample_out_of_bounds_total",
    "prometheus_target_scrapes_exceeded_sample_limit_total",
    "prometheus_target_scrapes_exceeded_body_size_limit_total",
)
Samples = List[Tuple[float, float]]  # (Unix time, value)


class Prometheus:
    """Owns the process and its folder. `rules`: files of rules that it evaluates every interval."""

    def __init__(self, target: str, rules: Sequence[str] = ()) -> None:
        self._folder = tempfile.mkdtemp(prefix="lezea-truth-prometheus-")
        config = os.path.join(self._folder, "prometheus.yml")
        with open(config, "w", encoding="ascii") as file:
            values = {"interval": INTERVAL_SECONDS, "target": target}
            file.write(CONFIG % {**values, "rules": json.dumps(list(rules))})
        address = "127.0.0.1:%d" % free_port()
        self.url = "http://" + address
        with open(os.path.join(self._folder, "log"), "wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", "--config.file=" + config, "--web.listen-address=" + address,
                 "--storage.tsdb.path=" + os.path.join(self._folder, "data")],
                stdout=log, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> "Prometheus":
        """Waits until it has scraped: it takes its targets up 5 s after it has started."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._scrapes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("prometheus did not begin to scrape")
            time.sleep(0.1)
        return self

    def _scrapes(self) -> bool:
        try:
            return self.target()["health"] == "up"
        except (OSError, IndexError):
            return False  # not listening yet, or without a target

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def samples(self, selector: str, seconds: float) -> Dict[Labels, Samples]:
        """The raw samples of the last `seconds`, by all labels (the name is __name__)."""
        question = urllib.parse.urlencode({"query": "%s[%ds]" % (selector, int(seconds) + 1)})
        data = self._ask("query?" + question)
        return {
            tuple(sorted(series["metric"].items())): [(t, float(v)) for t, v in series["values"]]
            for series in data["result"]
        }

    def evaluate(self, expression: str) -> Dict[Labels, float]:
        """What an expression is now, by labels."""
        question = urllib.parse.urlencode({"query": expression})
        data = self._ask("query?" + question)
        return {
            tuple(sorted(series["metric"].items())): float(series["value"][1])
            for series in data["result"]
        }

    def rules(self) -> List[Dict[str, Any]]:
        """Every rule: name, type, health, lastError; of those that alert state and alerts, too."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, path: str) -> Dict[str, Any]:
        answer = json.loads(fetch("%s/api/v1/%s" % (self.url, path)))
        if answer["status"] != "success":
            raise RuntimeError("prometheus: %s" % answer)
        return answer["data"]

    def target(self) -> Dict[str, Any]:
        """What it says of its one target: health, lastError."""
        return self._ask("targets")["activeTargets"][0]

    def refused(self) -> float:
        """Samples that were offered and could not be taken."""
        own = parse(fetch(self.url + "/metrics"))
        return sum(sum(own.get(name, {}).values()) for name in REFUSED)
