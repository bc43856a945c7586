"""One rank of a run: RUN RANK CPU-SECONDS. Says that it is in and waits for SIGUSR1.

Then it works in a scope of its own and ends its part.
"""

import signal
import sys
import time

from common import begin, burn_native, say


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    rank = int(sys.argv[2])
    run = begin(sys.argv[1])
    say(rank=rank)
    signal.sigwait([signal.SIGUSR1])
    begun = time.process_time()
    with run.scope("rank", rank):
        used = burn_native(int(float(sys.argv[3]) * 1e9))
    whole = time.process_time() - begun
    run.end()
    say(used=used / 1e9, whole=whole)


main()
