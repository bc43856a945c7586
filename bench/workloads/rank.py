"""One rank: RUN THREADS SCOPES SECONDS. Its threads wake once a second, its first ten times.

SCOPES: `one` thread, or `all`, is in a scope. Says when they all run.
"""

import sys
import threading
import time

import lezea_monitor as lm


def main() -> None:
    run_id, count, scopes, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    run = lm.start_run("bench", run_id=run_id)
    if not run.active:
        sys.exit("no run: the agent was not found or refused")
    until = time.monotonic() + seconds
    running = threading.Barrier(count)

    def work(pause: float) -> None:
        running.wait()
        while time.monotonic() < until:
            time.sleep(pause)
            sum(range(2000))

    def body(i: int) -> None:
        pause = 1.0 if i else 0.1
        if i and scopes != "all":
            return work(pause)
        with run.layer("l%d" % i):
            work(pause)

    for i in range(1, count):
        threading.Thread(target=body, args=(i,), daemon=True).start()
    threading.Thread(target=body, args=(0,), daemon=True).start()
    print("running", flush=True)
    time.sleep(seconds)


main()
