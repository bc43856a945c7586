"""Two torch processes of different load on one GPU, each a run: their shares, in the order of their work, books that
sum to the GPU's counter, and the driver's own accounting where it is on."""

import json
import os
import subprocess
import sys

TENANT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tenant.py")
DUTIES = {"gpu-heavy": 0.6, "gpu-light": 0.2}
# Who worked is sampled some times a second, and a GPU that two want at once is had in turn.
RATIO = (1.5, 6.0)  # of three
UNIT = 1e-6  # J: the counters are in whole microjoules
ACCOUNTING = (0.25, 2.0)  # of the driver's figure, whose kernel tick is a second, and seconds more


def check(bench):
    env = {**os.environ, "LEZEA_MONITOR_SOCKET": bench.agent.socket}
    tenants = {
        name: subprocess.Popen(
            [sys.executable, TENANT, "--run", name, "--duty", str(duty), "--seconds", str(bench.seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
        )
        for name, duty in DUTIES.items()
    }  # fmt: skip
    try:
        before = bench.scrape()
        said = [json.loads(tenant.stdout.readline() or "{}") for tenant in tenants.values()]
        why = next((one["skipped"] for one in said if "skipped" in one), None)
        if why:
            bench.report.skip("two tenants", why)
            return
        for tenant in tenants.values():
            tenant.stdin.write("\n")
            tenant.stdin.flush()
        ended = [tenant.wait(timeout=bench.seconds + 120) for tenant in tenants.values()]
        bench.report.check("both ended", ended == [0, 0], str(ended))
        after = bench.scrape()
        compare(bench, before, after)
        account(bench, after, {name: tenant.pid for name, tenant in tenants.items()})
    finally:
        for tenant in tenants.values():
            tenant.kill()


def compare(bench, before, after):
    report = bench.report

    def of_runs(column):
        family = after.get("lezea_run_gpu_%s_total" % column, {})
        return {name: family.get((("run", name),)) for name in DUTIES}

    active, energy = of_runs("active_seconds"), of_runs("energy_joules")
    for what, column in (("active time", active), ("energy", energy)):
        heavy, light = column["gpu-heavy"], column["gpu-light"]
        if heavy is None or light is None:
            report.check(what, False, "the agent has no figure: %s" % column)
        elif what == "energy":
            report.check(what, heavy > light > 0, "%.1f and %.1f J" % (heavy, light))
        else:
            within = light > 0 and RATIO[0] <= heavy / light <= RATIO[1]
            report.check(what, within, "%.2f and %.2f s, of duties 0.6 and 0.2" % (heavy, light))
    books(report, before, after)


def account(bench, after, pids):
    """What the driver's own accounting has of each, where it is switched on (`nvidia-smi -am 1`, as root)."""
    for name, pid in pids.items():
        said = bench.machine.accounted(pid)
        if said is None:
            bench.report.skip("%s: accounting" % name, "nvidia-smi does not say: it is off, or the GPU has none")
            continue
        seconds, share = said
        active = after.get("lezea_run_gpu_active_seconds_total", {}).get((("run", name),))
        bound = ACCOUNTING[0] * seconds * share + ACCOUNTING[1]
        bench.report.compare("%s: accounting" % name, active, seconds * share, bound, "s")


def books(report, before, after):
    """What runs, others and nobody were given is what the counter grew by, GPU by GPU."""
    for labels, joules in after.get("lezea_gpu_energy_joules_total", {}).items():
        uuid = dict(labels)["gpu"]

        def given(families, uuid=uuid):
            family = families.get("lezea_gpu_attributed_energy_joules_total", {})
            return sum(value for key, value in family.items() if dict(key)["gpu"] == uuid)

        grown = joules - before["lezea_gpu_energy_joules_total"][labels]
        divided = given(after) - given(before)
        said = "%.6f J given, the counter grew by %.6f J" % (divided, grown)
        # Both are read once a second; what was read last may not be divided yet.
        watts = grown / max(1.0, seconds(after, uuid) - seconds(before, uuid))
        report.check("%s: books" % uuid, abs(divided - grown) <= 1.5 * watts + UNIT, said)


def seconds(families, uuid):
    return families["lezea_gpu_read_time_seconds"][(("gpu", uuid),)]
