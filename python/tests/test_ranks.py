"""Which rank a process says that it has: the launcher's word, or the program's own."""

import json
import logging
import os
import unittest
from unittest import mock

from lezea_monitor import noop
from lezea_monitor.ranks import ranks

from .helpers import AgentTest

CASES = os.path.join(os.path.dirname(__file__), "../../test/fixtures/ranks.json")
TORCHRUN = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}


class RanksTest(unittest.TestCase):
    def ranks(self, environment, *given):
        self.warnings = []
        with mock.patch.dict(os.environ, environment, clear=True):
            return ranks(*(given or (None, None)), lambda *words: self.warnings.append(words))

    def test_launchers_as_the_node_client_reads_them(self):
        with open(CASES, encoding="utf-8") as file:
            cases = json.load(file)
        self.assertGreater(len(cases), 10)
        for case in cases:
            with self.subTest(case["launcher"]):
                self.assertEqual(self.ranks(case["env"]), case["expected"])
                self.assertEqual(len(self.warnings), case["warns"])

    def test_what_is_given_wins(self):
        for given, expected in (
            ((1, 2), {"rank": 1, "world_size": 2, "local_world_size": 8}),
            ((3, None), {"rank": 3, "world_size": 16, "local_world_size": 8}),
            ((20, None), {"rank": 20}),
            ((None, 32), {"rank": 9, "world_size": 32, "local_world_size": 8}),
            ((None, 4), {"world_size": 4}),
        ):
            with self.subTest(given=given):
                self.assertEqual(self.ranks(TORCHRUN, *given), expected)
                self.assertEqual(self.warnings, [])
        self.assertEqual(self.ranks({}, 4, None), {"rank": 4})

    def test_what_makes_no_sense_is_ignored_and_told(self):
        for given in (("1", None), (True, None), (-1, None), (0.5, None), (2, 2), (0, 10**9)):
            with self.subTest(given=given):
                expected = {"rank": 0} if given == (0, 10**9) else {}
                self.assertEqual(self.ranks({}, *given), expected)
                self.assertEqual(len(self.warnings), 1)


class StartTest(AgentTest):
    def started(self):
        return self.agent.called("run.start")[0]

    def test_start_run_tells_the_agent(self):
        with mock.patch.dict(os.environ, TORCHRUN):
            self.start(run_id="r", world_size=32)
        expected = {"run_id": "r", "rank": 9, "world_size": 32, "local_world_size": 8}
        self.assertEqual(self.started(), expected)

    def test_nonsense_starts_the_run_with_one_warning(self):
        logging.getLogger("lezea_monitor").setLevel(logging.WARNING)
        with mock.patch.dict(os.environ, {"RANK": "gold", "WORLD_SIZE": "2"}):
            with self.assertLogs("lezea_monitor", logging.WARNING) as logs:
                self.start(run_id="r", rank="first")
        self.assertEqual(self.started(), {"run_id": "r"})
        self.assertEqual(len(logs.output), 1)
        self.assertIn("ranks", noop._warned)


if __name__ == "__main__":
    unittest.main()
