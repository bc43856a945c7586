"""Asks for fresh figures while two of its threads work: RUN.

Each answer is bracketed by the process's own clock, read before the question and after the answer;
`scope` the same for one thread's scope and that thread's clock.
"""

import sys
import threading
import time

from common import begin, burn_native, fresh, say

ROUNDS, PAUSE_SECONDS = 10, 0.3


def main():
    run = begin(sys.argv[1])
    stop = threading.Event()
    clocks = {}

    def work(name):
        clocks[name] = time.pthread_getcpuclockid(threading.get_ident())
        with run.scope("thread", name):
            begun = time.thread_time()
            clocks[name + " begun"] = begun
            while not stop.is_set():
                burn_native(2_000_000)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    before = time.process_time()
    base = fresh(run, "cpu_seconds")
    base_after = time.process_time()
    for thread in threads:
        thread.start()
    rounds, published = [], []
    for _ in range(ROUNDS):
        time.sleep(PAUSE_SECONDS)
        published.append(run.usage().cpu_seconds)
        least, scope_least = time.process_time(), time.clock_gettime(clocks["a"])
        whole = fresh(run, "cpu_seconds")
        scope = fresh(run, "cpu_seconds", "thread:a")
        most, scope_most = time.process_time(), time.clock_gettime(clocks["a"])
        published += [whole, run.usage().cpu_seconds]
        begun = clocks["a begun"]
        rounds.append([least - base_after, whole - base, most - before,
                       scope_least - begun, scope, scope_most - begun])  # fmt: skip
    stop.set()
    for thread in threads:
        thread.join()
    run.end()
    published.append(run.usage().cpu_seconds)
    say(rounds=rounds, published=published)


main()
