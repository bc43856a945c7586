"""A training program of 1 000 scopes: ten taskers with 99 layers in each, a little CPU in each.

Usage: thousand.py RUN_ID. Prints the wall clock at which run.end was answered, seconds since 1970.
"""

import sys
import time

import lezea_monitor as lm

TASKERS, LAYERS = 10, 99


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


run = lm.start_run(experiment="thousand", run_id=sys.argv[1])
for tasker in range(TASKERS):
    with run.tasker("t%d" % tasker):
        burn(0.0002)
        for layer in range(LAYERS):
            with run.layer("layer%d" % layer):
                burn(0.0002)
run.end()
print(time.time(), flush=True)
