"""Two threads in two scopes, one busy, one mostly asleep: each one's clock in its scope."""

import sys
import time

from common import begin, burn_native, say, threads

SECONDS = 3


def main():
    run = begin(sys.argv[1])
    end = time.monotonic() + SECONDS

    def body(i):
        used = 0
        with run.scope("thread", "busy" if i == 0 else "light"):
            while time.monotonic() < end:
                used += burn_native(20_000_000 if i == 0 else 5_000_000)
                if i == 1:
                    time.sleep(0.02)
        return used

    used = threads(2, body)
    run.end()
    say(busy=used[0] / 1e9, light=used[1] / 1e9)


main()
