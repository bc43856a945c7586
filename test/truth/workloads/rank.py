"""One rank of a run: RUN RANK CPU-SECONDS. Says that it is in and waits for SIGUSR1.

Then it works in a scope of its own and ends its part. It is bound somewhere within start_run, and leaves
somewhere within end: so the run has of it at least what it used between the two, and no more than with them.
"""

import signal
import sys
import time

from common import begin, burn_native, say


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    rank = int(sys.argv[2])
    before = time.process_time()
    run = begin(sys.argv[1])
    bound = time.process_time()
    say(rank=rank)
    signal.sigwait([signal.SIGUSR1])
    with run.scope("rank", rank):
        used = burn_native(int(float(sys.argv[3]) * 1e9))
    least = time.process_time() - bound
    run.end()
    say(used=used / 1e9, least=least, most=time.process_time() - before)


main()
