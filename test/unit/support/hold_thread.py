"""Stops one thread of a process, and no other, as a driver that hangs does: by ptrace(2), until standard input ends.

hold_thread.py TID   prints `held`; exit status 3 where this machine does not allow it
"""
import ctypes
import os
import sys
import threading

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
tid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]


def release_at_end_of_input() -> None:
    sys.stdin.read()
    os._exit(0)  # with its tracer the thread's stop ends


if libc.ptrace(PTRACE_SEIZE, tid, None, None) != 0:
    print(os.strerror(ctypes.get_errno()), flush=True)
    sys.exit(3)
assert libc.ptrace(PTRACE_INTERRUPT, tid, None, None) == 0, os.strerror(ctypes.get_errno())
os.waitpid(tid, WALL)
print("held", flush=True)
threading.Thread(target=release_at_end_of_input, daemon=True).start()
# A process that is killed is gone only when its tracer has seen each of its threads go.
while not os.WIFSIGNALED(os.waitpid(tid, WALL)[1]):
    pass
