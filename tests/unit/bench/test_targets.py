"""The targets' verdicts, and the tables that show them."""

import pytest

from bench.measure import MIB, Sample
from bench.report import all_met, render
from bench.servers import OURS, PEER
from bench.targets import TARGETS, Of, Results, Target
from bench.workloads import WORKLOADS


def results(ours: float, peer: float) -> Results:
    def samples(rate: float) -> list[Sample]:
        return [{"rate": rate, "cpu": 0.001}]

    return {"push-256m": {OURS: samples(ours), PEER: samples(peer)}}


@pytest.mark.parametrize(
    "ours, verdict", [(250.0, "met"), (249.0, "NOT met")], ids=["at the bound", "below"]
)
def test_a_ratio_must_reach_its_bound(ours: float, verdict: str) -> None:
    target = next(target for target in TARGETS if target.of.workload == "push-256m")
    assert target.verdict(results(ours, 100.0)) == verdict
    assert all_met(results(ours, 100.0)) == (verdict == "met")


def test_a_figure_is_shown_in_the_targets_unit() -> None:
    target = Target("memory", "idle", Of("memory", OURS, "idle"), "at most", 150.0, MIB, "MiB")
    assert target.measured({"memory": {OURS: [{"idle": 120.0 * MIB}]}}) == 120.0


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {target.verdict({}) for target in TARGETS} == {"not measured"}
    assert all_met({})


def test_every_target_names_a_workload_and_servers_that_run_in_it() -> None:
    servers = {workload.name: workload.servers for workload in WORKLOADS}
    for target in TARGETS:
        for of in (target.of, target.per):
            if isinstance(of, Of):
                assert of.server in servers[of.workload]


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_tables_show_rates_ratios_and_verdicts(form: str) -> None:
    text = render(results(250.0, 100.0), form="markdown" if form == "markdown" else "text")
    assert "250.0 MiB/s" in text
    assert "2.50" in text
    assert "1,000 us/MiB" in text
    assert " met" in text
