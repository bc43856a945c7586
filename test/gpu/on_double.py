"""The same cases on the NVML double and a program in the place of nvidia-smi: that they run, and that they find what is
wrong, where there is no GPU. `--lie FIELD=VALUE`: that nvidia-smi says another value. What is found here says nothing of
a real driver.
"""

import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from main import run  # noqa: E402
from machine import Machine  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UUID = "GPU-00000000-1111-2222-3333-44444444444%d"
GPUS = 2
SAID = {
    "name": "NVIDIA H200",
    "driver_version": "550.54.15",
    "memory.total": "143771",
    "vbios_version": "96.00.99.00.01",
    "power.draw": "700.00",
    "utilization.gpu": "100",
    "memory.used": "1000",
    "temperature.gpu": "35",
}

NVIDIA_SMI = """#!%s
import sys
gpus, driver = %r, %r
if sys.argv[1:] == ["-q", "-x"]:
    print('<?xml version="1.0" ?><nvidia_smi_log><driver_version>%%s</driver_version>' %% driver)
    for gpu in gpus:
        memory = "<fb_memory_usage><total>%%s MiB</total></fb_memory_usage>" %% gpu["memory.total"]
        print("<gpu><uuid>%%s</uuid>%%s</gpu>" %% (gpu["uuid"], memory))
    print("</nvidia_smi_log>")
else:
    fields = sys.argv[1].split("=", 1)[1].split(",")
    for gpu in gpus:
        print(", ".join(gpu[field] for field in fields))
"""


def build(folder, lies):
    """A machine of two busy GPUs, of the second of which nvidia-smi says the lies."""
    scenario = ["clock real"]
    gpus = []
    for i in range(GPUS):
        # The second has no serial number.
        serial, bus = ("1654321000000", "")[i], "00000000:%dF:00.0" % i
        scenario.append("gpu uuid=%s pci=%s gpm=1%s" % (UUID % i, bus, serial and " serial=" + serial))
        scenario.append("process %d pid=%d memory_mib=1000 busy_ms=1000" % (i, 1000 + i))
        gpus.append({**SAID, "uuid": UUID % i, "pci.bus_id": bus, "serial": serial or "[N/A]"})
    gpus[-1].update(lies)
    write(os.path.join(folder, "scenario"), "\n".join(scenario) + "\n")
    program = os.path.join(folder, "nvidia-smi")
    write(program, NVIDIA_SMI % (sys.executable, gpus, gpus[-1]["driver_version"]))
    os.chmod(program, 0o755)
    built = subprocess.run(
        ["node", os.path.join(ROOT, "scripts", "nvml-double.mjs")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    library = os.path.join(built.stdout.splitlines()[-1], "current", "libnvidia-ml.so.1")
    env = {
        "LEZEA_NVML_SCENARIO": os.path.join(folder, "scenario"),
        "LEZEA_MONITOR_GPU__NVIDIA_SMI_PATH": program,
    }
    return Machine(program, ["gpu.nvml_library=" + library], env)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main(arguments):
    lies = {}
    while "--lie" in arguments:
        at = arguments.index("--lie")
        name, value = arguments[at + 1].split("=", 1)
        lies[name] = value
        del arguments[at : at + 2]
    folder = tempfile.mkdtemp(prefix="lezea-gpu-double-")
    try:
        return run(build(folder, lies), arguments)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
