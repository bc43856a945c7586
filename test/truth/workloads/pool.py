"""Threads that announce nothing: Python threads that hash, and native threads of no interpreter.

The main thread is in scope a, then in scope b, while the pool works. Says the process's CPU in
either stretch.
"""

import ctypes
import hashlib
import sys
import threading
import time

from common import begin, say

STRETCH_SECONDS = 2.0
TEXT_BYTES = 128 << 20


def hashing(stop):
    while not stop.is_set():
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 20_000)


def native_threads(stop, text):
    """One after the other, threads whose only function is strlen: they never see Python."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.pthread_create.argtypes = [ctypes.c_void_p] * 4
    libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
    strlen = ctypes.cast(libc.strlen, ctypes.c_void_p)
    count = 0
    while not stop.is_set():
        thread = ctypes.c_ulong()
        if libc.pthread_create(ctypes.byref(thread), None, strlen, text) != 0:
            raise OSError("pthread_create")
        libc.pthread_join(thread, None)
        count += 1
    return count


def stretch(run, name):
    with run.scope("part", name):
        begun = time.process_time_ns()
        time.sleep(STRETCH_SECONDS)
        return (time.process_time_ns() - begun) / 1e9


def main():
    run = begin(sys.argv[1])
    stop, made = threading.Event(), []
    text = ctypes.create_string_buffer(b"x" * TEXT_BYTES)
    address = ctypes.addressof(text)
    pool = [threading.Thread(target=hashing, args=(stop,))]
    pool.append(threading.Thread(target=lambda: made.append(native_threads(stop, address))))
    with run.scope("part", "start"):
        for thread in pool:
            thread.start()
    a, b = stretch(run, "a"), stretch(run, "b")
    stop.set()
    for thread in pool:
        thread.join()
    run.end()
    say(a=a, b=b, native_threads=made[0])


main()
