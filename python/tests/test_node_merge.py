"""One run on several nodes whose programs deliver it themselves: what is there is all of them.

That the merge itself is the agent's, the agent's tests show (merge-both-ways.test.ts).
"""

import hashlib
import json
from unittest import mock

from lezea_monitor import merged_summary, mlflow_artifacts, node_merge, node_summary

from .test_deliver import END, DeliverTest

PATH = "resources/summary.json"
ASIDE = "lezea-monitor/" + PATH


def document(node, cpu_ns, attempt=1, status="FINISHED", run_id="r"):
    """A node's summary: one scope has all of the CPU time."""
    columns = {"cpu_seconds": cpu_ns / 1e9}
    books = {"unit": "ns", "scopes": str(cpu_ns), "unattributed": "0", "total": str(cpu_ns)}
    scope = {"path": "builder:b0", "level": "builder", "name": "b0", "parent": None}
    whole = {
        "schema": "lezea.resources/v1",
        "run": {
            "id": run_id, "attempt": attempt, "status": status, "user": "me", "tags": {},
            "started_at": "2026-11-21T10:00:00.000Z", "ended_at": "2026-11-21T10:00:01.500Z",
        },
        "node": {
            "name": node, "boot_id": "boot of " + node, "architecture": "x64", "kernel": "6",
            "cpus": 8, "memory_bytes": 1000,
        },
        "totals": {"cpu_seconds": {"value": cpu_ns / 1e9, "method": "measured", "source": "s"}},
        "scopes": [{**scope, "self": columns, "inclusive": columns}],
        "unattributed": {"cpu_seconds": 0},
        "conservation": {"cpu_seconds": {**books, "residual": "0"}},
        "agent": {"version": "1", "lost_events": 0},
    }  # fmt: skip
    return json.dumps(whole).encode()


def merged(*documents):
    """As it is to lie there."""
    return merged_summary.text_of(
        merged_summary.merge(node_summary.read_node_summary(data, "r") for data in documents)
    )


class NodeMergeTest(DeliverTest):
    def setUp(self):
        super().setUp()
        self.tracked = self.mlflow.start_run("m")
        self.mlflow.end_run()

    def deliver(self, node, data, *more, **fields):
        """What the client of one node does; its agent has nothing to do with another's."""
        path = "resources/nodes/%s/summary.json" % node
        self.outbox.deliveries.clear()
        _, body = self.outbox.document(path, data)
        before = [self.outbox.document(name, content) for name, content in more]
        self.tracked.info.status = fields.pop("running", "FINISHED")
        self.finish(*before, ("merge", {"node": node, **body, **fields}), END)
        return self.outbox.left()

    def shown(self):
        """As MLflow shows figures: of the greatest step, time and value."""
        best = {}
        for key, *point in self.tracked.metrics:
            best[key] = max(best.get(key, point), point)
        return {key: value for key, (_, _, value) in best.items()}

    def test_one_node_is_its_own(self):
        data = document("a", 1_500_000_000)
        self.assertEqual(self.deliver("a", data), 0)
        self.assertEqual(self.tracked.get(PATH), data)
        self.assertEqual(self.tracked.get("resources/nodes/a/summary.json"), data)
        self.assertEqual(self.tracked.tags["lezea_monitor.node"], "a")
        self.assertEqual(self.shown()["resources/total/cpu_seconds"], 1.5)
        ended = 1_795_255_201_500
        self.assertEqual({point[1:3] for point in self.tracked.metrics}, {(ended, 1)})

    def test_of_several_it_is_the_sum_whoever_is_last_and_sent_again(self):
        documents = {
            "a": document("a", 1, status="KILLED"), "b": document("b", 20), "c": document("c", 300)
        }  # fmt: skip
        for order in ("abc", "cba", "acbab"):
            self.tracked = self.mlflow.start_run("of " + order)
            self.mlflow.end_run()
            self.mlflow.runs["m"] = self.tracked
            for node in order:
                self.assertEqual(self.deliver(node, documents[node]), 0)
            self.assertEqual(self.tracked.get(PATH), merged(*documents.values()))
            self.assertEqual(self.shown()["resources/builder/b0/inclusive/cpu_seconds"], 321e-9)
            tags = {key[14:]: value for key, value in self.tracked.tags.items()}
            self.assertEqual(
                tags,
                {
                    "status": "KILLED", "reason": "", "run_id": "r", "node": "a,b,c",
                    "attempt": "1", "summary_sha256": self.hash_of(PATH),
                },
            )  # fmt: skip
            self.assertFalse([path for path in self.tracked.files() if path.startswith("lezea")])

    def hash_of(self, path):
        return hashlib.sha256(self.tracked.get(path)).hexdigest()

    def test_attempts_add_up_and_the_last_tells_how_it_came_out(self):
        first, second = document("a", 1, status="KILLED"), document("a", 2, attempt=2)
        other = document("b", 40)
        self.deliver("a", first)
        self.deliver("b", other)
        attempts = [
            ("resources/nodes/a/attempts/%d/summary.json" % (n + 1), data)
            for n, data in enumerate((first, second))
        ]
        replaces = [hashlib.sha256(first).hexdigest()]
        self.assertEqual(self.deliver("a", second, *attempts, replaces=replaces), 0)
        self.assertEqual(self.tracked.get(PATH), merged(first, second, other))
        self.assertEqual(self.shown()["resources/total/cpu_seconds"], 43e-9)
        self.assertEqual(self.tracked.tags["lezea_monitor.status"], "FINISHED")
        self.assertEqual(self.tracked.tags["lezea_monitor.attempt"], "2")

    def test_a_node_that_knew_of_no_other_is_moved_out_of_the_way(self):
        alone, other = document("b", 5), document("a", 7)
        self.tracked.put(PATH, alone)
        self.assertEqual(self.deliver("a", other), 0)
        self.assertEqual(self.tracked.get("resources/nodes/b/summary.json"), alone)
        self.assertEqual(self.tracked.get(PATH), merged(other, alone))

    def test_nodes_that_said_nothing_of_one_another(self):
        """Both put theirs where a run on one node has it: the second finds the first's."""
        documents = {"a": document("a", 1, status="FAILED"), "b": document("b", 20)}
        for node, data in [*documents.items(), *reversed(documents.items())]:
            self.outbox.deliveries.clear()
            digest = hashlib.sha256(data).hexdigest()
            tags = [{"key": "lezea_monitor.summary_sha256", "value": digest}]
            own = [*tags, {"key": "lezea_monitor.status", "value": "of %s only" % node}]
            self.finish(self.outbox.document(PATH, data), ("tags", {"tags": own}))
            self.tracked.info.status = "FINISHED"
            self.mlflow.end_run()
            self.assertEqual(self.outbox.left(), 0)
        self.assertEqual(self.tracked.get(PATH), merged(*documents.values()))
        self.assertEqual(self.tracked.tags["lezea_monitor.status"], "FAILED")
        self.assertEqual(self.tracked.tags["lezea_monitor.summary_sha256"], self.hash_of(PATH))

    def test_nobody_elses_is_written_over(self):
        for theirs in (b"theirs", document("b", 5, run_id="another"), b'{"merged_from": []}'):
            self.tracked.put(PATH, theirs)
            data = document("a", 7)
            self.assertEqual(self.deliver("a", data), 0)
            self.assertEqual((self.tracked.get(PATH), self.tracked.get(ASIDE)), (theirs, data))
            self.assertEqual(self.tracked.tags["lezea_monitor.artifact." + PATH], ASIDE)

    def test_what_was_cut_short_is_written_over(self):
        a, b = document("a", 7), document("b", 8)
        self.deliver("a", a)
        self.tracked.put(PATH, merged(a, b)[:100])
        self.deliver("b", b)
        self.assertEqual(self.tracked.get(PATH), merged(a, b))

    def test_while_the_mlflow_run_goes_on_it_lies_aside_too(self):
        data = document("a", 7)
        self.deliver("a", data, running="RUNNING")
        self.assertEqual((self.tracked.get(PATH), self.tracked.get(ASIDE)), (data, data))
        self.assertEqual(self.tracked.tags["lezea_monitor.artifact." + PATH], ASIDE)

    def test_another_that_comes_meanwhile_is_merged(self):
        a, b = document("a", 7), document("b", 8)

        def before(name, *where):
            if where[-1] == "summary.json" and where[0] == "resources":
                self.tracked.put("resources/nodes/b/summary.json", b)

        self.mlflow.before = before
        self.assertEqual(self.deliver("a", a), 0)
        self.assertEqual(self.tracked.get(PATH), merged(a, b))

    def test_others_that_come_all_the_time_are_waited_for(self):
        coming = iter(range(1000))

        def before(name, *where):
            if where[-1] == "summary.json" and where[0] == "resources":
                node = "n%d" % next(coming)
                self.tracked.put("resources/nodes/%s/summary.json" % node, document(node, 1))

        self.mlflow.before = before
        self.assertEqual(self.deliver("a", document("a", 7)), 2)
        self.assertEqual(next(coming), node_merge.MAX_ROUNDS)
        self.mlflow.before = lambda *_: None
        self.outbox.deliveries.clear()
        self.assertEqual(self.deliver("a", document("a", 7)), 0)
        self.assertEqual(len(json.loads(self.tracked.get(PATH))["nodes"]), 6)

    def test_another_machine_of_that_name(self):
        theirs, ours = document("a", 7), document("a", 90)
        self.deliver("a", theirs)
        self.assertEqual(self.deliver("a", ours), 0)
        self.assertEqual(self.tracked.get("resources/nodes/a-k-1/summary.json"), ours)
        self.assertEqual(self.shown()["resources/total/cpu_seconds"], 97e-9)

    def test_what_is_too_long_is_not_read(self):
        with mock.patch.object(node_merge, "MAX_REPLACED_BYTES", 2000), mock.patch.object(
            mlflow_artifacts, "MAX_REPLACED_BYTES", 2000
        ):
            self.tracked.put("resources/nodes/b/summary.json", document("b", 8) + b" " * 2000)
            self.tracked.put(PATH, b" " * 3000)
            data = document("a", 7)
            self.assertEqual(self.deliver("a", data), 0)
        self.assertEqual(self.tracked.get(ASIDE), data)
