"""Names and levels: any id, encoded; labels keep the original; limits fold into the parent."""

import enum
import unittest
from unittest import mock

from lezea_monitor import names, tree

from .helpers import AgentTest


class Broken:
    def __str__(self):
        raise RuntimeError("no")

    __hash__ = None


class NameTest(unittest.TestCase):
    def test_encoding(self):
        for value, expected in (
            ("policy", ("policy", None)),
            ("fc 1", ("fc 1", None)),
            (7, ("7", None)),
            ("größe", ("größe", None)),
            ("a/b:c%d", ("a%2Fb%3Ac%25d", "a/b:c%d")),
            ("tab\there", ("tab%09here", "tab\there")),
            ("\x7f\u0085", ("%7F%C2%85", "\x7f\u0085")),
            ("\u202e", ("%E2%80%AE", "\u202e")),
            ("\ud800", ("%ED%A0%80", "?")),
            ("", ("(empty)", "")),
            (None, ("None", None)),
            (Broken(), ("Broken", None)),
        ):
            self.assertEqual(names.encode_name(value), expected)

    def test_long_names_are_shortened_with_a_hash(self):
        exact = "x" * 128
        self.assertEqual(names.encode_name(exact), (exact, None))
        seen = set()
        for text in ("x" * 129, "x" * 130, "é" * 65, "/" * 43, "a" + "/" * 43, "x" * 10000):
            name, label = names.encode_name(text)
            self.assertLessEqual(len(name.encode()), 128)
            self.assertNotRegex(name, r"%(?![0-9A-F]{2})")
            self.assertEqual(label, text[:512])
            seen.add(name)
        self.assertEqual(len(seen), 6)

    def test_levels(self):
        for value, expected in (
            ("phase", "phase"), ("data_loader2", "data_loader2"), ("Phase", "phase"),
            ("a-b/c", "a_b_c"), ("9x", "level_9x"), ("", "level_"), ("total", "total_"),
            ("inclusive", "inclusive_"), (Broken(), "broken"), ("phase\n", "phase_"),
        ):  # fmt: skip
            self.assertEqual(names.clean_level(value), expected)
            self.assertRegex(names.clean_level(value), r"^[a-z][a-z0-9_]*$")
        self.assertLessEqual(len(names.clean_level("é" * 500)), 128)


class ScopeNameTest(AgentTest):
    def test_any_id(self):
        run = self.start()
        for name in (1, "1", True, 1.0, Broken(), ["list"], enum.Enum("E", "A").A, b"raw"):
            with run.layer(name), run.scope("Other Level", name):
                pass
        paths = {path.split("/")[0] for path, activation in self.mine() if activation}
        expected = {"1", "True", "1.0", "Broken", "['list']", "E.A", "b'raw'"}
        self.assertEqual(paths, {"layer:" + name for name in expected})
        self.assertEqual(run.dropped, 0)

    def test_label_travels(self):
        run = self.start()
        with run.layer("a/b"):
            pass
        self.agent.wait(lambda: self.agent.called("scope.define"))
        expected = {"id": 1, "parent": 0, "level": "layer", "name": "a%2Fb", "label": "a/b"}
        self.assertEqual(self.agent.called("scope.define")[0]["scopes"], [expected])

    def test_too_many_scopes_count_on_their_parent(self):
        with mock.patch.object(tree, "MAX_SCOPES", 3):
            run = self.start()
            with run.builder("b"):
                for number in range(10):
                    with run.layer(number):
                        pass
            self.assertEqual(len(run._tree.nodes), 3)
            self.assertEqual(run.dropped, 8)
            self.assertEqual(self.mine()[-3:], [("builder:b", 1), ("builder:b", 0), ("", 0)])

    def test_too_deep_counts_on_the_parent(self):
        run = self.start()
        opened = [run.scope("level", number).__enter__() for number in range(20)]
        self.assertEqual(run._tree.nodes[-1].depth, 16)
        for scope in reversed(opened):
            scope.__exit__(None, None, None)
        self.assertEqual(self.mine()[-1], ("", 0))
