"""Stops one thread of a process, and no other, as a driver that hangs does: by ptrace(2), until standard input ends.

hold_thread.py TID   prints `held`; exit status 3 where this machine does not allow it
"""
import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
tid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
if libc.ptrace(PTRACE_SEIZE, tid, None, None) != 0:
    print(os.strerror(ctypes.get_errno()), flush=True)
    sys.exit(3)
assert libc.ptrace(PTRACE_INTERRUPT, tid, None, None) == 0, os.strerror(ctypes.get_errno())
os.waitpid(tid, WALL)
print("held", flush=True)
sys.stdin.read()  # with its tracer the thread's stop ends
