"""Enters and leaves a scope and what peers offer instead, in turns: `scope_edges.py SECONDS`.

Expects an agent (LEZEA_MONITOR_SOCKET). Prints JSON: `rounds` has, for each contestant, µs of this
thread's CPU time per enter and exit, a figure a round; CPU time, because the machine may be shared.
`absent` names the peers that are not installed. Every contestant is given its name each time.
"""

import contextlib
import json
import sys
import time

import lezea_monitor as lm
from lezea_monitor import accel, lane, scope

PER_ROUND = 2000  # enters and exits; a round takes some milliseconds


def ours(run):
    def go(count):
        for _ in range(count):
            with run.layer("x"):
                pass

    return go


def read_always(go):
    """The same with the CPU clock read at every edge, as where edges are 5 µs apart and more."""

    def set_window(window):
        lane.CPU_WINDOW_NS = scope.CPU_WINDOW_NS = window
        if accel.native is not None:
            python = scope.Scope
            functions = python.__enter__, python.__exit__, python.__call__, python.__reduce__
            watch = lane.CPU_WATCH_NS if window else 0
            intervals = lane.IO_INTERVAL_NS, lane.PROCESS_INTERVAL_NS
            accel.native.setup(*functions, window, watch, *intervals)

    def slowly(count):
        window = lane.CPU_WINDOW_NS
        set_window(0)
        go(count)
        set_window(window)

    return slowly


def two_clock_readings(count):
    read = time.thread_time_ns
    for _ in range(count):
        read()
        read()


def manager(make):
    def go(count):
        for _ in range(count):
            with make("x"):
                pass

    return go


def empty():
    @contextlib.contextmanager
    def nothing(name):
        yield

    return manager(nothing)


def torch_record_function():
    from torch.profiler import record_function

    return manager(record_function)


def nvtx_annotate():
    import nvtx

    return manager(nvtx.annotate)


def opentelemetry_without_sdk():
    from opentelemetry.trace import NoOpTracerProvider

    return manager(NoOpTracerProvider().get_tracer("bench").start_as_current_span)


def opentelemetry_with_sdk():
    from opentelemetry.sdk.trace import TracerProvider

    return manager(TracerProvider().get_tracer("bench").start_as_current_span)


PEERS = {
    "contextlib.contextmanager, empty": empty,
    "torch.profiler.record_function": torch_record_function,
    "nvtx.annotate": nvtx_annotate,
    "OpenTelemetry span, no SDK": opentelemetry_without_sdk,
    "OpenTelemetry span, SDK": opentelemetry_with_sdk,
}


def main():
    run = lm.start_run(experiment="bench")
    contestants = {"ours": ours(run), "ours, clock read at every edge": read_always(ours(run))}
    contestants["thread_time_ns() twice"] = two_clock_readings
    absent = {}
    for name, make in PEERS.items():
        try:
            contestants[name] = make()
        except (ImportError, OSError, ValueError) as error:
            absent[name] = "not installed: %s" % str(error)[:60]
    rounds = {name: [] for name in contestants}
    deadline = time.monotonic() + float(sys.argv[1])
    for go in contestants.values():
        go(PER_ROUND)
    while time.monotonic() < deadline or len(rounds["ours"]) < 5:
        for name, go in contestants.items():
            begin = time.thread_time_ns()
            go(PER_ROUND)
            rounds[name].append((time.thread_time_ns() - begin) / PER_ROUND / 1000)
    run.end()
    json.dump({"accelerated": lm.ACCELERATED, "rounds": rounds, "absent": absent}, sys.stdout)


main()
