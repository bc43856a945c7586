"""The accelerator: when it is used, what it shares with the agent, what it does without Python."""

import copy
import ctypes
import gc
import importlib.util
import inspect
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import weakref

import lezea_monitor as lm
from lezea_monitor import accel, layout, scope
from lezea_monitor.ring import MAX_RINGS

from .helpers import AgentTest, child_environment, python

PACKAGE = os.path.dirname(os.path.abspath(lm.__file__))
NATIVE = os.path.join(PACKAGE, "..", "..", "native", "scope")
BUILT = os.path.join(PACKAGE, "_accel.abi3.so")
NOT_BUILT = "the accelerator is not built: npm run build:accelerator"
SAY = "import lezea_monitor; print(lezea_monitor.ACCELERATED)"
# The collector runs in the middle of a thread's first scope (up to 3.11, where it runs as objects
# are made), and the run ends there: its threading.local is gone while C looks into it.
END_WITHIN = """
import gc, threading
from lezea_monitor import opener, scope, tree

layer = opener.opener(tree.Tree(lambda: None), "layer")
ends, filling = [], []

def collected(phase, info):
    if ends and not ends.pop():
        scope._use(threading.local())
        filling.append([b"\\xff" * (8 * size) for size in range(4, 40)])

def work():
    one = layer("x")
    gc.set_threshold(1)
    ends.append(False)
    one.__enter__()
    gc.set_threshold(700)
    ends.clear()
    one.__exit__(None, None, None)

gc.callbacks.append(collected)
for _ in range(100):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print("through", len(filling) > 50)
"""


def another_accelerator(test):
    """The module once more, with a state of its own."""
    if "t" in sys.abiflags or not os.path.exists(BUILT):
        test.skipTest(NOT_BUILT)
    spec = importlib.util.spec_from_file_location("lezea_monitor._accel", BUILT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LoadedTest(unittest.TestCase):
    def test_it_is_used_when_it_is_there(self):
        if os.environ.get(accel.PURE_VARIABLE) or "t" in sys.abiflags:
            self.assertFalse(lm.ACCELERATED)
        elif not os.path.exists(BUILT):
            self.skipTest(NOT_BUILT)
        else:
            self.assertTrue(lm.ACCELERATED)


class FallbackTest(unittest.TestCase):
    """Whatever is wrong with the shared object, the host sees Python."""

    def said(self, name=None, content=b"", **environment):
        with tempfile.TemporaryDirectory() as folder:
            target = os.path.join(folder, "lezea_monitor")
            shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
            if name is not None:
                with open(os.path.join(target, name), "wb") as file:
                    file.write(content)
            env = dict(child_environment(), PYTHONPATH=folder, **environment)
            done = subprocess.run(
                python(SAY), env=env, cwd=folder, capture_output=True, timeout=60
            )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return done.stdout.strip().decode()

    def test_damaged_or_foreign(self):
        self.assertEqual(self.said(), "False")
        for content in (b"", b"not a library", b"\x7fELF" + bytes(4096)):
            self.assertEqual(self.said("_accel.abi3.so", content), "False")
        for code in (b"raise OSError('no')", b"REVISION = 0", b"pass"):
            self.assertEqual(self.said("_accel.py", code), "False")

    def test_free_threaded_builds_have_no_use_for_it(self):
        env = dict(child_environment(), LEZEA_MONITOR_PURE="")
        code = "import sys; sys.abiflags += 't'; " + SAY
        done = subprocess.run(python(code), env=env, capture_output=True, timeout=60)
        self.assertEqual((done.stdout.strip(), done.stderr), (b"False", b""))

    def test_the_variable_keeps_it_out(self):
        env = dict(child_environment(), LEZEA_MONITOR_PURE="1")
        done = subprocess.run(python(SAY), env=env, capture_output=True, timeout=60)
        self.assertEqual((done.stdout.strip(), done.stderr), (b"False", b""))


class LayoutTest(unittest.TestCase):
    def test_the_numbers_are_those_of_the_agents_header(self):
        with open(os.path.join(NATIVE, "ring_layout.h"), encoding="utf-8") as file:
            found = re.findall(r"#define LEZEA_RING_(\w+) (\"\w+\"|\d+)", file.read())
        theirs = dict(found)
        ours = {
            "MAGIC": '"%s"' % layout.MAGIC.decode(),
            "VERSION": layout.VERSION,
            "HEADER_BYTES": layout.HEADER_SIZE,
            "LANE_BYTES": layout.LANE_ENTRY_SIZE,
            "RECORD_BYTES": layout.RECORD_SIZE,
            "DEFAULT_LANES": layout.DEFAULT_LANES,
            "DEFAULT_LANE_CAPACITY": layout.DEFAULT_CAPACITY,
            "KIND_SWITCH": layout.KIND_SWITCH,
            "KIND_IO_READ": layout.KIND_IO_READ,
            "KIND_IO_WRITTEN": layout.KIND_IO_WRITE,
            "KIND_PROCESS_CPU": layout.KIND_PROCESS_CPU,
            "FLAG_ACTIVATION": layout.ACTIVATION >> 16,
        }
        for name, value in ours.items():
            self.assertEqual(theirs[name], str(value), name)


    def test_a_process_makes_no_more_rings_than_the_agent_takes(self):
        with open(os.path.join(NATIVE, "ring_acceptor.h"), encoding="utf-8") as file:
            most = re.search(r"kMaxRingsPerSession = (\d+);", file.read())
        self.assertEqual(int(most[1]), MAX_RINGS)


class HotPathTest(AgentTest):
    def frames(self, work):
        """The Python functions of the package that ran."""
        seen = []

        def note(frame, event, argument):
            if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
                seen.append(frame.f_code.co_name)

        sys.setprofile(note)
        try:
            work()
        finally:
            sys.setprofile(None)
        return seen

    def test_the_usual_case_runs_no_python_of_ours(self):
        run = self.start()

        def work():
            with run.layer("x"), run.layer("y"):
                pass

        work()
        scope.state().io_due = 1 << 62
        seen = self.frames(work)
        pure = ["open_scope", "__enter__"] * 2 + ["__exit__"] * 2
        level = [name.replace("layer", "open_scope") for name in seen]
        self.assertEqual(level, [] if lm.ACCELERATED else pure)
        scope.state().io_due = scope.state().cpu_due = 0
        self.assertEqual("stamp_io" in self.frames(work), not lm.ACCELERATED)

    @unittest.skipUnless(scope.SWITCHES_SHOW, "switches of a thread do not show here")
    def test_whether_switches_show_is_no_matter_of_luck(self):
        ask = another_accelerator(self).setup
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})  # a wait that ends elsewhere proves nothing
        self.addCleanup(os.sched_setaffinity, 0, allowed)
        self.assertTrue(all(ask(None, None, None, None, 1, 1, 1, 1) for _ in range(1000)))

    def test_a_scope_that_was_ended_elsewhere_is_taken_out_with_the_io_stamps(self):
        run = self.start()
        inner = run.layer("y")
        with run.layer("x"):
            with run.layer("z"):  # else its first use is out of the ordinary anyway
                pass
            inner.__enter__()
            thread = threading.Thread(target=inner.__exit__, args=(None, None, None))
            thread.start()
            thread.join()
            st = scope.state()
            self.assertIs(st.top, inner)
            st.io_due = st.cpu_due = 0
            with run.layer("z"):
                pass
            self.assertIsNot(st.top, inner)
            self.assertEqual(scope.current().path, "layer:x")

    def test_a_scope_that_was_ended_elsewhere_is_entered_again(self):
        run = self.start()
        one = run.layer("x")
        one.__enter__()
        thread = threading.Thread(target=one.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
        one.__exit__(None, None, None)
        for _ in range(2):
            with one:
                with run.layer("y"):
                    scope.state().io_due = scope.state().cpu_due = 0
                    with run.layer("z"):
                        pass
                self.assertEqual(scope.current().path, "layer:x")
            self.assertEqual(scope.current().path, "")

    def test_how_scopes_are_opened(self):
        run = self.start()
        with run.layer(name="x"):
            self.assertEqual(scope.current().path, "layer:x")
        for wrong in ((), ("a", "b")):
            with self.assertRaises(TypeError):
                run.layer(*wrong)
        with self.assertRaises(TypeError):
            run.layer(nam="x")
        self.assertEqual((run.layer.__name__, run.scope("odd", 1).key.name), ("layer", "1"))
        self.assertIn("Scope of level layer", run.layer.__doc__)
        self.assertEqual(list(inspect.signature(run.layer).parameters), ["name"])

    def test_equal_is_not_the_same_name(self):
        run = self.start()

        class Loud(str):
            def __str__(self):
                return self.upper()

        names = [run.layer(id).key.name for id in ("a", Loud("b"), 1, 1.0, True, "1", [1], "a")]
        self.assertEqual(names, ["a", "B", "1", "1.0", "True", "1", "[1]", "a"])
        # Nor when the string came first.
        self.assertEqual([run.layer(id).key.name for id in ("b", Loud("b"), "b")], ["b", "B", "b"])

    def test_a_copy_is_still_to_be_entered(self):
        run = self.start()
        original = run.layer("x")
        with original:
            for made in (copy.copy(original), pickle.loads(pickle.dumps(original))):
                self.assertIsNone(made.outer)
                with made:
                    self.assertEqual(scope.current().path, "layer:x/layer:x")
        self.assertEqual(copy.deepcopy({"s": original})["s"].key.name, "x")

    def test_only_a_run_makes_scopes(self):
        if lm.ACCELERATED:
            kind = type(self.start().layer("x"))
            self.assertRaises(TypeError, kind)
            self.assertRaises(TypeError, object.__new__, kind)
        self.assertEqual(type(self.start().layer("x")).__name__, "Scope")

    def test_a_key_stays(self):
        one = self.start().layer("x")
        if lm.ACCELERATED:
            for change in (lambda: delattr(one, "key"), lambda: setattr(one, "key", None)):
                self.assertRaises(AttributeError, change)
        with one:
            self.assertEqual(scope.current().path, "layer:x")

    def test_a_run_that_ends_in_the_middle_of_a_first_scope(self):
        env = dict(child_environment(), PYTHONMALLOC="debug")
        done = subprocess.run(python(END_WITHIN), env=env, capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout, b"through True\n")

    def test_buffers_that_are_none(self):
        st = scope.state()
        for wrong in (b"read only", 5, None):
            if lm.ACCELERATED:
                with self.assertRaises(TypeError):
                    st.view = wrong
        st.view = bytearray(8)  # too small for a record: refused, not overrun
        with self.start().layer("x"):
            pass

    def test_a_lane_too_small_is_not_overrun(self):
        run = self.start()
        with run.layer("x"):
            pass
        st = scope.state()
        guard = bytearray(64)
        for name, wrong in (("view", memoryview(guard)[:31]), ("slot", 1 << 40)):
            right = getattr(st, name)
            setattr(st, name, wrong)
            with run.layer("x"):
                pass
            setattr(st, name, right)
        self.assertEqual(guard, bytes(64))
        self.assertEqual(run.dropped, 4)
        with run.layer("x"):
            self.assertEqual(scope.current().path, "layer:x")
        self.assertEqual(scope.current().path, "")


class ComeAndGoTest(AgentTest):
    """Where the accelerator keeps a thread's state, and the state goes."""

    def test_one_native_thread_with_many_python_lives(self):
        """Each callback into Python from a thread that Python did not make has a state of its own.

        The callbacks are the thread's function and, again and again, the destructor of a key.
        """
        run, seen = self.start(), []
        libc, key = ctypes.CDLL(None), ctypes.c_uint()

        def life(_):
            with run.layer("x"):
                seen.append((scope.current().path, id(scope.state())))
            libc.pthread_setspecific(key, ctypes.c_void_p(1))

        callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(life)
        self.assertEqual(libc.pthread_key_create(ctypes.byref(key), callback), 0)
        self.addCleanup(libc.pthread_key_delete, key)
        free = len(self.first_ring(run).free)
        for _ in range(20):
            thread = ctypes.c_ulong()
            self.assertEqual(libc.pthread_create(ctypes.byref(thread), None, callback, None), 0)
            self.assertEqual(libc.pthread_join(thread, None), 0)
        self.assertEqual({path for path, _ in seen}, {"layer:x"})
        self.assertGreater(len(seen), 40)
        self.assertEqual(len(self.first_ring(run).free), free)
        self.assertEqual(run.dropped, 0)

    def first_ring(self, run):
        return run._pool.rings[0]


class MemoryTest(AgentTest):
    def test_references_come_out_even(self):
        run = self.start()
        reused = run.layer("reused")

        def work():
            with run.layer("x"), run.layer("y"):
                with reused, reused:
                    pass
            with run.layer(7):
                pass
            out, inner = run.layer("x"), run.layer("y")
            out.__enter__()
            inner.__enter__()
            out.__exit__(None, None, None)
            inner.__exit__(None, None, None)
            copy.copy(reused)
            self.assertRaises(TypeError, run.layer)

        for _ in range(3):
            work()
        st = scope.state()
        root = st.top
        held = [st, root, root.node, reused, reused.key, scope._local, run.layer, type(reused)]
        held += [run.layer("x").key, root.node.kids[run.layer("x").key]]
        before = [sys.getrefcount(one) for one in held]
        for _ in range(500):
            work()
        after = [sys.getrefcount(one) for one in held]
        for one, old, new in zip(held, before, after):
            self.assertLess(abs(new - old), 50, one)

    def test_scopes_that_are_never_left(self):
        run = self.start()

        def work():
            for _ in range(20_000):
                run.layer("x").__enter__()

        if lm.ACCELERATED:  # else freeing them is the interpreter's, whose own bound counts on a full stack
            previous = threading.stack_size(256 * 1024)  # ours must not need more
            self.addCleanup(threading.stack_size, previous)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertEqual(len(scope.state().top.node.kids), 1)

    def test_a_scope_is_new_whoever_had_its_memory(self):
        run = self.start()
        for _ in range(3):
            scopes = [run.layer(str(depth)) for depth in range(40)]  # more than are kept
            for one in scopes:
                self.assertIsNone(one.outer)
                self.assertFalse(one.buried)
                self.assertFalse(hasattr(one, "node") or hasattr(one, "cells"))
                one.__enter__()
            self.assertEqual(len({id(one) for one in scopes}), 40)
            for one in reversed(scopes):
                one.__exit__(None, None, None)
                one.cells, one.buried = [], True
            del scopes, one

    def test_what_is_kept_of_ended_scopes_goes_with_their_module(self):
        module = another_accelerator(self)
        gone = weakref.ref(module)
        one, other = module.scope("key"), module.scope("key")
        del module, one
        gc.collect()
        self.assertIsNotNone(gone())  # which a scope needs
        del other
        gc.collect()
        self.assertIsNone(gone())

    def test_cycles_are_collected(self):
        run = self.start()

        class Canary:
            pass

        def cycle():
            one = run.layer("x")
            one.cells = [one, Canary()]
            st = type(scope.state())(one, None)
            st.claim = lambda: st  # a cycle through the state, too

        def canaries():
            return sum(1 for one in gc.get_objects() if isinstance(one, Canary))

        cycle()
        gc.collect()
        self.assertEqual(canaries(), 0)
