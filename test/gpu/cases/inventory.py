"""The facts of `inventory`, and that `doctor` finds NVML and nvidia-smi to agree."""

MIB = 1024 * 1024
FACTS = {  # of nvidia-smi, and of the inventory
    "name": "model",
    "serial": "serial",
    "vbios_version": "vbios",
    "pci.bus_id": "bus",
}


def check(bench):
    report = bench.report
    theirs = bench.machine.ask("driver_version", "memory.total", *FACTS)
    _, document = bench.command("inventory")
    gpus = document["described"].get("gpus", {"devices": []})
    ours = {gpu["uuid"]: gpu for gpu in gpus["devices"] if "mig_parent" not in gpu}
    report.check("source", gpus.get("source") == "nvml", str(gpus.get("source")))
    same = sorted(ours) == sorted(theirs)
    report.check("UUIDs", same, "%s, nvidia-smi %s" % (sorted(ours), sorted(theirs)))
    for uuid in sorted(set(ours) & set(theirs)):
        gpu, said = ours[uuid], theirs[uuid]
        compare(report, uuid, "driver", gpus.get("driver"), said["driver_version"])
        for name, fact in FACTS.items():
            compare(report, uuid, fact, gpu.get(fact), said[name])
        total = gpu.get("memory_total_bytes")
        mib = None if total is None else str(round(total / MIB))
        compare(report, uuid, "MiB of memory", mib, said["memory.total"])
    check_doctor(bench)


def compare(report, uuid, what, ours, theirs):
    """What nvidia-smi does not say, the agent must not say either."""
    same = ours is None if theirs is None else str(ours).lower() == theirs.lower()
    report.check("%s: %s" % (uuid, what), same, "%s, nvidia-smi %s" % (ours, theirs))


def check_doctor(bench):
    _, diagnosis = bench.command("doctor")
    lines = [line for line in diagnosis["sources"] if line["name"] == "gpu_cross_check"]
    said = lines[0]["reason"] if lines else "doctor did not compare"
    bench.report.check("doctor", bool(lines) and lines[0]["state"] == "ok", said)
