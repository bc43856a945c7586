"""What the agent's calls of NVML took, and that they stay within the budget. The table is for docs."""

import time

BUDGET_SECONDS = 0.002  # of a GPU's second
COLUMNS = ["call", "calls", "mean_microseconds", "failed", "late"]
NAMES = {
    "calls": "lezea_agent_nvml_calls_total",
    "seconds": "lezea_agent_nvml_call_seconds_total",
    "failed": "lezea_agent_nvml_call_failures_total",
    "late": "lezea_agent_nvml_late_calls_total",
}


def check(bench):
    before = bench.scrape()
    begun = time.monotonic()
    time.sleep(bench.seconds)
    after = bench.scrape()
    elapsed = time.monotonic() - begun
    gpus = len(after["lezea_gpu_info"])
    spent = total(after, "seconds") - total(before, "seconds")
    calls = total(after, "calls") - total(before, "calls")
    share = spent / elapsed / gpus
    said = "%.3f ms and %.1f calls of a GPU's second, %d GPUs, %.0f s" % (
        1000 * share, calls / elapsed / gpus, gpus, elapsed,
    )  # fmt: skip
    bench.report.check("time in NVML", 0 < share <= BUDGET_SECONDS, said)
    bench.report.check("calls that hung", total(after, "late") == 0, "%d" % total(after, "late"))
    bench.report.table(COLUMNS, rows(after))


def total(families, what):
    return sum(families.get(NAMES[what], {}).values())


def rows(families):
    made = []
    for key, count in families[NAMES["calls"]].items():
        seconds = families[NAMES["seconds"]][key]
        failed, late = (int(families[NAMES[what]][key]) for what in ("failed", "late"))
        made.append([dict(key)["call"], int(count), round(1e6 * seconds / count, 1), failed, late])
    return sorted(made, key=lambda row: row[2], reverse=True)
