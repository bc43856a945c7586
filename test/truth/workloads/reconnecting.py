"""Loses its connection to the agent in the middle of a long stay: RUN.

Says the thread's own CPU inside of the scope. The burning is native: the link's thread is free.
"""

import socket
import sys
import time

from common import begin, burn_native, say

BEFORE_NS, AFTER_NS = 500_000_000, 1_500_000_000


def main():
    run = begin(sys.argv[1])
    with run.scope("part", "long"):
        used = burn_native(BEFORE_NS)
        run._link._session.channel.connection.shutdown(socket.SHUT_RDWR)
        used += burn_native(AFTER_NS)
        connected = run._link.connected
    run.end()
    say(used=used / 1e9, connected=connected)


main()
