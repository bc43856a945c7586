"""`run.facts`: what becomes JSON, how it is told, and what is told again."""

import collections
import dataclasses
import datetime
import enum
import json
import logging
import os
import pathlib
import types
import unittest

import lezea_monitor as lm
from lezea_monitor import facts, plain, redact

from .fake_agent import error
from .helpers import AgentTest

FIXTURES = os.path.join(os.path.dirname(__file__), "../../test/fixtures/secrets.json")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Options:
    lr: float
    path: pathlib.Path


class Scalar:
    """As numpy's and torch's."""

    def __init__(self, value, size=1):
        self.value, self.size = value, size

    def tolist(self):
        return self.value


class Broken:
    def __str__(self):
        raise RuntimeError("no text")


class PlainTest(unittest.TestCase):
    def test_what_has_a_word_in_json(self):
        moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        for value, made in [
            (None, None), (True, True), (3, 3), (0.5, 0.5), ("x", "x"), ("\ud800", "?"),
            (float("nan"), "nan"), (float("-inf"), "-inf"), (2**63, str(2**63)), (2**53, 2**53),
            (pathlib.PurePosixPath("/a/b"), "/a/b"), (moment, "2026-01-02T03:04:05+00:00"),
            (datetime.timedelta(seconds=90), 90.0), ({3, 1}, [1, 3]), ((1, "a"), [1, "a"]),
            (Colour.RED, "red"), (Options(0.1, pathlib.PurePosixPath("x")), {"lr": 0.1, "path": "x"}),
            (types.SimpleNamespace, "types.SimpleNamespace"),
            (Scalar(7), 7), (Scalar([1.5, float("nan")], size=2), [1.5, "nan"]),
            ({1: 2, None: 3, ("a", 1): 4}, {"1": 2, "None": 3, "['a', 1]": 4}),
            (collections.OrderedDict(a=collections.UserDict(b=1)), {"a": {"b": 1}}),
        ]:  # fmt: skip
            conversion = plain.Plain()
            self.assertEqual(conversion.make(value), made, value)
            self.assertEqual(conversion.lost, [])
            json.dumps(made, allow_nan=False)

    def test_what_has_none_is_said(self):
        loop = []
        loop.append(loop)
        for value, lost in [
            (b"abc", "x: 3 bytes, left out"), (Scalar(0, size=10**6), "x: Scalar of 1000000 values, left out"),
            (Broken(), "x: Broken: RuntimeError, left out"), (types.SimpleNamespace(a=1), "x: a SimpleNamespace, as text"),
            ("x" * 9000, "x: cut after 8192 characters"),
        ]:  # fmt: skip
            conversion = plain.Plain()
            json.dumps(conversion.make({"x": value}), allow_nan=False)
            self.assertEqual(conversion.lost, [lost])
        conversion = plain.Plain()
        conversion.make({"x": loop})
        self.assertIn("too deep", conversion.lost[0])


class RedactTest(unittest.TestCase):
    def test_as_the_agent_does(self):
        with open(FIXTURES, encoding="utf-8") as file:
            vectors = json.load(file)
        for text, left in vectors["texts"]:
            self.assertEqual(redact.without_secrets(text), left)
            self.assertEqual(redact.without_secrets(left), left)
        for value, left in vectors["values"]:
            self.assertEqual(redact.redacted(value), left)


class FactsTest(AgentTest):
    def told(self):
        return [params["facts"] for params in self.agent.called("run.update") if "facts" in params]

    def test_facts_and_tags(self):
        run = self.start(run_id="r")
        run.facts(
            dataset_version="v3",
            hyperparameters={"lr": 1.0, "n": 3, "opt": {"eps": 0.0}, "api_key": "planted"},
            tags={"team": "nlp", "n": 1, "url": "https://me:planted@h/x"},
            where=pathlib.PurePosixPath("/data"),
        )
        self.agent.wait(lambda: len(self.agent.called("run.update")) == 2)
        self.assertEqual(
            self.told(),
            [
                {
                    "dataset_version": "v3",
                    "hyperparameters": {"lr": 1.0, "n": 3, "opt": {"eps": 0.0}, "api_key": "[hidden]"},
                    "where": "/data",
                    "param_texts": {"lr": "1.0", "opt": {"eps": "0.0"}},
                }
            ],
        )  # fmt: skip
        tags = [params["tags"] for params in self.agent.called("run.update") if "tags" in params]
        self.assertEqual(tags, [{"team": "nlp", "n": "1", "url": "https://h/x"}])
        self.assertNotIn("planted", str(self.agent.calls))

    def test_nothing_raises_into_training(self):
        run = self.start()
        logging.getLogger("lezea_monitor").setLevel(logging.WARNING)
        with self.assertLogs("lezea_monitor", "WARNING") as logs:
            run.facts(bad=Broken(), tags=3, deep=[[[[]]]])
            run.facts(bad=Broken())
        self.assertEqual(len(logs.output), 2)  # each kind once
        self.agent.wait(lambda: self.told() != [])
        self.assertEqual(self.told()[0], {"bad": None, "deep": [[[[]]]]})
        run.end()
        run.facts(after=1)
        lm.start_run(socket="/nowhere").facts(a=1)

    def test_long_ones_go_in_pieces(self):
        run = self.start()
        many = {"k%d" % n: "x" * 1000 for n in range(200)}
        run.facts(note=1, table={"inner": many})
        run.usage()
        merged = {}
        for piece in self.told():
            self.assertLess(len(json.dumps(piece)), 64 * 1024)
            merged.update(piece.get("table", {}).get("inner", {}))
        self.assertEqual(merged, many)
        self.assertGreater(len(self.told()), 3)

    def test_what_the_agent_did_not_store_is_said_again(self):
        run = self.start(run_id="r")
        self.agent.stalled.set()
        run.facts(seeds=[1, 2])
        self.agent.kill()
        self.agent.stalled.clear()
        self.agent.start()
        self.agent.wait(lambda: {"seeds": [1, 2]} in self.told())
        self.agent.wait(lambda: run._facts.look_around() or not run._facts._waiting)
        self.assertEqual((run._facts._bytes, run.dropped), (0, 0))

    def test_a_refusal_is_told_once_and_counted(self):
        self.agent.replies["run.update"] = error("too_large", "the limit factBytes is 262144")
        run = self.start()
        logging.getLogger("lezea_monitor").setLevel(logging.WARNING)
        with self.assertLogs("lezea_monitor", "WARNING") as logs:
            run.facts(a=1)
            run.usage()
            run._facts.look_around()
        self.assertIn("the limit factBytes is 262144", logs.output[0])
        self.assertEqual(run.dropped, 1)

    def test_what_waits_is_bounded(self):
        run = self.start()
        self.agent.stalled.set()
        self.addCleanup(self.agent.stalled.clear)
        for _ in range(80):
            run.facts(**{"k%d" % n: "x" * 8000 for n in range(5)})
        self.assertLessEqual(run._facts._bytes, facts.MAX_WAITING_BYTES)
        self.assertGreater(run.dropped, 0)
