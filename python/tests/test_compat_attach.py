"""`attach`: a tracker of LeZeA's shape says what the agent measured."""

import base64
import json
import unittest
from fractions import Fraction

from lezea_monitor import compat
from lezea_monitor.compat.attach import limits_of

from .fake_agent import error
from .helpers import AgentTest
from .lezea_tracker import Tracker

SUMMARY = {"schema": "lezea.resources/v1", "totals": {"cpu_seconds": {"value": 1.5}}}
COST = {
    "schema": "lezea.cost/v1",
    "rates_eur": {"cpu_core_hour_eur": 0.05},
    "scopes": {"global": {"totals": {"cpu_core_hours": 1.0}, "components_eur": {"cpu_eur": 0.05},
                          "total_eur": 0.05}},
    "grand_totals": {"cpu_core_hours": 1.0},
    "grand_components_eur": {"cpu_eur": 0.05},
    "total_eur": 0.05,
    "unpriced": ["gpu_hours", "egress_gb"],
}  # fmt: skip
FILES = {"resources/summary.json": SUMMARY, "business/cost_analysis_summary.json": COST}
INVENTORY = {"schema": "lezea.environment/v1", "hardware": {"cpu": {"model": "X"}}}


class AttachTest(AgentTest):
    def setUp(self):
        super().setUp()
        self.files = dict(FILES)
        self.agent.replies["run.get"] = self.file
        self.agent.replies["node.inventory"] = INVENTORY
        self.tracker = Tracker()
        self.backend = self.tracker.backends["mlflow"]
        self.attached = compat.attach(self.tracker)
        self.addCleanup(self.attached.run.end)

    def file(self, params):
        """Documents in pieces of 100 bytes."""
        if params.get("file") not in self.files:
            return error("invalid_params", "not there")
        raw, at = json.dumps(self.files[params["file"]]).encode(), params["offset"]
        data = base64.b64encode(raw[at : at + 100]).decode()
        return {"file": params["file"], "offset": at, "size": len(raw), "data": data,
                "eof": at + 100 >= len(raw)}  # fmt: skip

    def usage(self, **columns):
        self.agent.replies["run.usage"] = {"inclusive": columns, "self": columns}

    def test_the_run_is_the_trackers(self):
        (started,) = self.agent.called("run.start")
        self.assertEqual(started["experiment"], "demo")
        self.assertEqual(started["tags"], {"lezea.experiment_id": self.tracker.experiment_id})
        self.assertIs(compat.attach(self.tracker), self.attached)

    def test_its_scopes_are_ours_too(self):
        tracker = self.tracker
        with tracker.builder_scope("b0"), tracker.tasker_scope("tasker#0"):
            self.assertEqual(tracker.stack, [("builder", "b0"), ("tasker", "tasker#0")])
            with tracker.scope("network", "org/model"), tracker.layer_scope(3):
                pass
        self.assertEqual(tracker.stack, [])
        paths = [path for path, activation in self.mine() if activation]
        tasker = "builder:b0/tasker:tasker#0"
        model = tasker + "/network:org%2Fmodel"
        self.assertEqual(paths, ["builder:b0", tasker, model, model + "/layer:3"])

    def test_a_scope_is_left_by_an_exception_too(self):
        with self.assertRaises(ZeroDivisionError):
            with self.tracker.algorithm_scope("sac"):
                raise ZeroDivisionError
        self.assertEqual(self.mine(), [("algorithm:sac", 1), ("", 0)])
        self.assertEqual(self.tracker.stack, [])

    def test_scopes_of_metrics_are_keys_that_mlflow_takes(self):
        with self.tracker.tasker_scope("tasker#0"):
            self.tracker.log_training_step(1, {"loss": 0.5})
        self.assertEqual(self.backend.metrics, [("tasker.x3atasker.x230/loss", 0.5, 1)])

    def test_training_steps_are_progress(self):
        for step in (0, 1, 2, 12):
            self.tracker.log_training_step(step, {"loss": 0.5})
        self.attached.run.usage()  # after everything before it
        told = sum(call.get("steps", 0) for call in self.agent.called("run.progress"))
        self.assertEqual(told, 1 + 1 + 1 + 10)

    def test_the_monitor_is_replaced_and_never_called(self):
        monitor = self.tracker.gpu_monitor
        self.tracker.start()
        with monitor.track_tasker("t1") as tracked:
            tracked.record_operation()
        self.assertEqual(self.mine(), [("tasker:t1", 1), ("", 0)])
        self.assertIsNone(monitor.update_data_usage_metrics("train", 0.5, None))
        self.usage(cpu_seconds=2.0)
        self.assertEqual(monitor.get_current_usage(), {"cpu_seconds": 2.0})
        self.tracker.end()
        self.attached.detach()
        with self.assertRaises(AssertionError):
            self.tracker.gpu_monitor.ping()

    def test_its_four_documents_are_ours(self):
        tracker = self.tracker
        self.assertEqual(tracker.log_environment_info(), INVENTORY)
        self.assertEqual(tracker._compute_final_resource_summary(), SUMMARY)
        self.assertEqual(tracker._persist_cost_analysis(), COST)
        self.files["constraints/constraints.json"] = {"schema": "lezea.constraints/v1"}
        written = tracker.log_constraints(runtime_limit_seconds=60)
        self.assertEqual(written, {"schema": "lezea.constraints/v1"})
        tracker.end()
        self.assertEqual(
            self.backend.documents,
            {**self.files, "environment/full.json": INVENTORY},
        )
        self.assertEqual(tracker.total_cost, 0.05)

    def test_what_the_agent_does_not_have_stays_the_trackers(self):
        self.files.clear()
        self.agent.replies["node.inventory"] = error("unsupported", "no")
        tracker = self.tracker
        tracker.cost_model._model.summary = dict
        self.assertEqual(tracker.log_environment_info(), {"node": "?"})
        self.assertEqual(tracker._compute_final_resource_summary(), {"total_cpu_percent_accumulated": 1234.5})
        tracker.end()
        self.assertNotIn("business/cost_analysis_summary.json", self.backend.documents)  # nothing

    def test_constraints_are_limits(self):
        told = []
        self.attached.run.set_limits = told.append
        self.tracker.log_constraints(600, {"max_steps": 200})
        self.tracker.log_constraints(step_episode_limits={"tasker": {"max_episodes": 5}})
        self.assertEqual(
            told,
            [{"runtime_seconds": 600, "steps": 200}, {"levels": {"tasker": {"episodes": 5}}}],
        )
        self.assertEqual(
            limits_of(None, {"tasker:t0": {"steps": 3}, "max_steps": "many", "note": 4}),
            {"scopes": {"tasker:t0": {"steps": 3}}},
        )

    def test_what_is_no_limit_becomes_none(self):
        for given in (
            {"max_steps_per_episode": 200, "min_steps": 3, "eval_every_steps": 5, "max_steps": 0},
            {"max_episodes": float("nan"), "steps": True},
            [1, 2],
            "max_steps",
        ):
            self.assertEqual(limits_of(-1, given), {}, given)
        self.assertEqual(
            limits_of(60, {"max_steps": 0, "total_episodes": 5}),
            {"runtime_seconds": 60, "episodes": 5},
        )
        told = []
        self.attached.run.set_limits = told.append
        self.tracker.log_constraints(60, [1, 2])
        self.assertEqual(told, [{"runtime_seconds": 60}])

    def test_numbers_of_another_kind_count(self):
        self.assertEqual(limits_of(Fraction(60), {"steps": Fraction(5)}), {"runtime_seconds": 60, "steps": 5})
        told = []
        self.attached.run.progress = lambda steps: told.append(steps)
        for step in (Fraction(3), Fraction(7)):  # as numpy's int64, which is no int
            self.tracker.log_training_step(step, {"loss": 1.0})
        self.assertEqual(told, [1, 4])

    def test_constraints_say_how_they_stand_and_in_the_end_how_it_came_out(self):
        stands = [{"limit": "runtime_seconds", "value": 600, "state": "ok"}]
        type(self.attached.run).limits, before = stands, vars(type(self.attached.run)).get("limits")
        self.addCleanup(setattr, type(self.attached.run), "limits", before)
        written = self.tracker.log_constraints(600)
        self.assertEqual(written["runtime_limit_seconds"], 600)
        self.assertEqual(written["limits"], stands)
        path = "constraints/constraints.json"
        self.assertEqual(self.backend.documents[path], written)
        self.files[path] = {"schema": "lezea.constraints/v1", "outcome": "within"}
        self.tracker.end()
        self.assertEqual(self.backend.documents[path], self.files[path])

    def test_components_get_true_figures(self):
        with self.tracker.tasker_scope("tasker#0"):
            pass
        self.usage(cpu_seconds=0.0, memory_byte_seconds=0.0)
        self.tracker.log_component_resources("tasker#0", "tasker", 99.0, 99.0, 50.0)
        self.usage(cpu_seconds=1e6, memory_byte_seconds=3e12)
        self.tracker.log_component_resources("tasker#0", "tasker", 99.0, 99.0, 50.0, step=7)
        first, second = self.tracker.seen
        self.assertEqual(first, ("tasker", "tasker#0", 0.0, 0.0, None))  # no GPU is known
        self.assertEqual(second[:2] + second[4:], ("tasker", "tasker#0", None))
        self.assertAlmostEqual(second[2] / second[3], 100 * 1e6 / (3e12 / 1e6))
        asked = {call["scope"] for call in self.agent.called("run.usage")}
        self.assertEqual(asked, {"tasker:tasker#0"})

    def test_no_answer_is_no_figure_and_the_next_one_is_of_all_the_time(self):
        with self.tracker.tasker_scope("t0"):
            pass
        self.agent.replies["run.usage"] = error("unknown_run", "no such scope")
        self.tracker.log_component_resources("t0", "tasker", 99.0, 99.0)
        self.assertEqual(self.tracker.seen, [])
        self.usage(cpu_seconds=1e6, memory_byte_seconds=1e12)
        self.tracker.log_component_resources("t0", "tasker", 99.0, 99.0)
        ((_, _, cpu_percent, memory_mb, _),) = self.tracker.seen
        self.assertAlmostEqual(cpu_percent / memory_mb, 100 * 1e6 / (1e12 / 1e6))

    def test_a_component_in_two_places_is_their_sum_and_in_itself_once(self):
        for outer in ("a", "b"):
            with self.tracker.builder_scope(outer), self.tracker.layer_scope(1):
                with self.tracker.layer_scope(1):
                    pass
        self.usage(cpu_seconds=1.0, memory_byte_seconds=1.0)
        self.tracker.log_component_resources(1, "layer", 0.0, 0.0)
        asked = {call["scope"] for call in self.agent.called("run.usage")}
        self.assertEqual(asked, {"builder:a/layer:1", "builder:b/layer:1"})

    def test_many_scopes_are_asked_for_at_once(self):
        scopes = []
        for number in range(9):
            with self.tracker.builder_scope(number), self.tracker.layer_scope("x"):
                pass
            used = {"cpu_seconds": 1e6, "memory_byte_seconds": 1e12}
            scopes.append({"path": "builder:%d/layer:x" % number, "self": {}, "inclusive": used})
        self.files["resources/summary.json"] = {"scopes": scopes}
        self.tracker.log_component_resources("x", "layer", 0.0, 0.0)
        self.assertEqual(self.agent.called("run.usage"), [])
        ((_, _, cpu_percent, memory_mb, _),) = self.tracker.seen
        self.assertAlmostEqual(cpu_percent / memory_mb, 100 * 9e6 / (9e12 / 1e6))

    def test_a_component_without_a_scope_keeps_what_was_measured_of_it(self):
        parts = compat.ResourceLogger(run=self.attached.run)
        unknown = parts.sample("x")["gpu_h"] + parts._part("x").known["gpu_h"]
        self.tracker.log_resource("nobody", cpu=12.0, gpu=unknown, mem=34.0)
        self.tracker.log_resource("nobody", cpu=unknown, gpu=0.0, mem=34.0)
        self.assertEqual(self.tracker.seen, [("part", "nobody", 12.0, 34.0, None)])

    def test_the_cost_of_resources_is_the_runs(self):
        self.usage(cpu_seconds=7200.0, memory_byte_seconds=3600e9, io_read_bytes=1, io_write_bytes=2)
        self.tracker.log_resource_cost(1234.0, 5678.0, 9)
        self.assertEqual(self.backend.values("cost/cpu_hours"), [2.0])
        self.assertEqual(self.backend.values("cost/mem_gb"), [1.0])
        self.assertEqual(self.backend.values("cost/io_bytes"), [3])
        self.assertEqual(self.tracker.total_cost, 0.05)

    def test_the_cost_model_has_true_figures_and_what_was_declared(self):
        model = self.tracker.cost_model
        model.update(scope_key="tasker:t0", dt_seconds=1.0, cpu_percent=400.0, egress_gb=10.0)
        model.add_fixed_cost(2.0)
        summary = model.summary()
        self.assertAlmostEqual(summary["total_eur"], 0.05 + 0.6 + 2.0)
        self.assertEqual(summary["grand_totals"]["cpu_core_hours"], 1.0)
        self.assertEqual(summary["scopes"]["global"]["totals"], {"cpu_core_hours": 1.0, "fixed_eur": 2.0})
        self.assertAlmostEqual(summary["scopes"]["tasker:t0"]["total_eur"], 0.6)
        self.assertEqual(summary["unpriced"], ["gpu_hours"])
        parts = summary["grand_components_eur"]
        self.assertAlmostEqual(sum(parts.values()), summary["total_eur"])
        sums = sum(bill["total_eur"] for bill in summary["scopes"].values())
        self.assertAlmostEqual(sums, summary["total_eur"])

    def test_without_prices_of_the_agent_the_model_has_its_own_for_what_was_used(self):
        del self.files["business/cost_analysis_summary.json"]
        model = self.tracker.cost_model
        model.update(scope_key="global", dt_seconds=1e9, cpu_percent=400.0)  # an estimate
        told = []
        model._model.update = lambda **said: told.append(said)
        columns = {"cpu_seconds": 7200.0, "memory_byte_seconds": 3.6e12, "io_read_bytes": 5}
        scope = {"path": "tasker:t0", "self": columns}
        summary = {"scopes": [scope], "unattributed": {"cpu_seconds": 1.0}}
        self.files["resources/summary.json"] = summary
        model.summary()
        model.summary()  # nothing more was used
        self.assertEqual(
            told,
            [
                {"scope_key": "tasker:t0", "dt_seconds": 7200.0, "cpu_percent": 100.0, "cpu_cores": 1},
                {"scope_key": "tasker:t0", "dt_seconds": 3600.0, "ram_gb": 1.0},
                {"scope_key": "tasker:t0", "dt_seconds": 1.0, "io_read_bytes": 5},
                {"scope_key": "global", "dt_seconds": 1.0, "cpu_percent": 100.0, "cpu_cores": 1},
            ],
        )
        columns["cpu_seconds"] += 10.0
        model.summary()
        self.assertEqual(told[4:], [dict(told[0], dt_seconds=10.0)])

    def test_a_cost_model_that_does_not_work_is_no_harm(self):
        self.tracker.cost_model._model.summary = None
        self.assertEqual(self.tracker.cost_model.summary(), COST)
        self.tracker.end()
        self.assertEqual(self.tracker.total_cost, 0.05)

    def test_the_end_logs_true_totals_once(self):
        self.tracker.finalize_experiment()
        self.tracker.end()
        self.assertEqual(self.tracker.ends, 1)
        self.assertEqual(self.backend.ended, 1)
        self.assertEqual(self.backend.values("resources/total/cpu_seconds"), [1.5])
        ((kind, payload),) = self.tracker.events
        self.assertEqual((kind, payload["totals"]), ("resources", {"cpu_seconds": 1.5}))
        (ended,) = self.agent.called("run.end")
        self.assertEqual(ended["status"], "FINISHED")

    def test_an_exception_that_ends_the_experiment_ends_the_run_as_failed(self):
        with self.assertRaises(ValueError):
            try:
                raise ValueError("no more data")
            finally:
                self.tracker.end()
        (ended,) = self.agent.called("run.end")
        self.assertEqual((ended["status"], ended["reason"]), ("FAILED", "ValueError: no more data"))

    def test_a_backend_that_fails_ends_nothing(self):
        self.backend.log_metrics = None
        self.tracker.end()
        self.assertEqual(self.backend.ended, 1)

    def test_detach(self):
        self.attached.detach()
        self.assertNotIn("end", vars(self.tracker))
        with self.tracker.builder_scope("b0"):
            pass
        self.assertEqual(self.mine(), [])
        again = compat.attach(self.tracker)
        self.assertIsNot(again, self.attached)


class AttachToARunTest(AgentTest):
    def test_a_run_of_the_callers_goes_on(self):
        self.agent.replies["run.usage"] = {"inclusive": {"cpu_seconds": 4.0}}
        run = self.start()
        tracker = Tracker()
        self.assertIs(compat.attach(tracker, run).run, run)
        tracker.end()
        self.assertTrue(run.active)
        self.assertEqual(self.agent.called("run.end"), [])
        backend = tracker.backends["mlflow"]
        self.assertEqual(backend.values("resources/total/cpu_seconds"), [4.0])


    def test_what_a_component_used_before_is_in_no_percent(self):
        run = self.start()
        with run.tasker("t0"):
            pass
        tracker = Tracker()
        compat.attach(tracker, run)
        columns = {"cpu_seconds": 1e6, "memory_byte_seconds": 1e12}
        self.agent.replies["run.usage"] = lambda params: {"inclusive": columns}
        tracker.log_component_resources("t0", "tasker", 1.0, 1.0)
        self.assertEqual(tracker.seen, [])
        tracker.log_component_resources("t0", "tasker", 1.0, 1.0)
        self.assertEqual(tracker.seen, [("tasker", "t0", 0.0, 0.0, None)])


class OtherShapesTest(AgentTest):
    def test_what_a_tracker_does_not_have_is_not_made(self):
        class Small:
            def scope(self, level, entity_id):
                return open("/dev/null")

        small = Small()
        attached = compat.attach(small)
        self.addCleanup(attached.run.end)
        with small.scope("tasker", "t0"):
            pass
        self.assertEqual(self.mine(), [("tasker:t0", 1), ("", 0)])
        self.assertEqual(sorted(vars(small)), ["_lezea_monitor", "scope"])


class WithoutAnAgentTest(AgentTest):
    def test_the_tracker_works_as_before_but_for_the_monitor(self):
        self.agent.close()
        tracker = Tracker()
        compat.attach(tracker)
        tracker.start()
        with tracker.tasker_scope("t0"):
            tracker.log_component_resources("t0", "tasker", 1.0, 2.0)
        tracker.log_constraints(5)
        tracker.end()
        backend = tracker.backends["mlflow"]
        summary = {"total_cpu_percent_accumulated": 1234.5}
        self.assertEqual(backend.documents["resources/summary.json"], summary)
        self.assertEqual(backend.ended, 1)
        self.assertEqual(tracker.seen, [("tasker", "t0", 1.0, 2.0, None)])


if __name__ == "__main__":
    unittest.main()
