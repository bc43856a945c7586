"""Figures of the agent against nvidia-smi's over a stretch of time, in means: both are read once a second, not at once.

Bounds are for GPUs whose load changes meanwhile; on idle ones the figures are much closer.
"""

import time

MIB = 1024 * 1024
PERIOD_SECONDS = 1.0
POWER = (0.10, 5.0)  # of nvidia-smi's figure, and watts more
ENERGY = (0.15, 5.0)  # the counter's mean over the time is not of the moments of reading
UTILIZATION_POINTS = 15.0
MEMORY = (0.01, 64.0)  # MiB
TEMPERATURE_CELSIUS = 5.0
ASKED = ("power.draw", "utilization.gpu", "memory.used", "temperature.gpu")


def check(bench):
    """For as long as the agent's own readings take to span that time, thrice it at most."""
    theirs, ours = [], []
    last_at = time.monotonic() + 3 * bench.seconds
    while span_seconds(ours) < bench.seconds and time.monotonic() < last_at:
        next_at = time.monotonic() + PERIOD_SECONDS
        theirs.append(bench.machine.ask(*ASKED))
        ours.append(bench.scrape())
        time.sleep(max(0.0, next_at - time.monotonic()))
    for uuid in sorted(theirs[0]):
        check_gpu(bench, uuid, [said[uuid] for said in theirs if uuid in said], ours)


def span_seconds(ours):
    """Between the first and the last reading of the GPU that was read the least."""
    if not ours:
        return 0.0
    first, last = (one.get("lezea_gpu_read_time_seconds", {}) for one in (ours[0], ours[-1]))
    return min((last[gpu] - first[gpu] for gpu in first if gpu in last), default=0.0)


def check_gpu(bench, uuid, theirs, ours):
    report = bench.report

    def said(name):
        values = [float(one[name]) for one in theirs if one[name] is not None]
        return sum(values) / len(values) if values else None

    def mean(name):
        values = [bench.of_gpu(one, name, uuid) for one in ours]
        values = [value for value in values if value is not None]
        return sum(values) / len(values) if values else None

    def scaled(value, factor):
        return None if value is None else value * factor

    def compare(what, figure, name, bound, unit):
        if said(name) is None:
            report.skip("%s: %s" % (uuid, what), "nvidia-smi does not say")
        else:
            report.compare("%s: %s" % (uuid, what), figure, said(name), bound(said(name)), unit)

    def share(part, more):
        return lambda value: part * value + more

    compare("power", mean("lezea_gpu_power_watts"), "power.draw", share(*POWER), "W")
    watts = mean_watts(bench, uuid, ours)
    if watts is None and "lezea_gpu_energy_joules_total" not in ours[-1]:
        report.skip("%s: energy" % uuid, "it has no counter")
    else:
        compare("energy by time", watts, "power.draw", share(*ENERGY), "W")
    busy = scaled(mean("lezea_gpu_utilization_ratio"), 100)
    compare("utilisation", busy, "utilization.gpu", share(0, UTILIZATION_POINTS), "%")
    used = scaled(mean("lezea_gpu_memory_used_bytes"), 1 / MIB)
    compare("memory used", used, "memory.used", share(*MEMORY), "MiB")
    celsius = mean("lezea_gpu_temperature_celsius")
    compare("temperature", celsius, "temperature.gpu", share(0, TEMPERATURE_CELSIUS), "°C")


def mean_watts(bench, uuid, ours):
    """By the energy counter, between its first and its last reading."""
    points = []
    for one in ours:
        at = bench.of_gpu(one, "lezea_gpu_read_time_seconds", uuid)
        joules = bench.of_gpu(one, "lezea_gpu_energy_joules_total", uuid)
        if at is not None and joules is not None:
            points.append((at, joules))
    if len(points) < 2 or points[-1][0] <= points[0][0]:
        return None
    return (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
