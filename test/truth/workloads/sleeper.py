"""A stranger: in no run, asleep until it is killed."""

import signal

from common import say

say(asleep=True)
signal.pause()
