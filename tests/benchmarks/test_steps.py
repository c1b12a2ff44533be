"""What a turn does."""

from benchmarks.stages.counting import counted
from benchmarks.stages.job import Contender, Job
from benchmarks.stages.steps import build_turn
from benchmarks.stages.workload import Workload


def test_what_is_computed_once_for_all_rows_is_in_no_turn(small, tmp_path):
    workload = Workload(Job(dataset="tiny", settings={**small, "checkpoint_dir": str(tmp_path)}))
    turn = build_turn(workload, "joint-inference", 4, Contender("ours", "ours", {"plm_interaction_layers": 1}))
    batch = turn.prepare(0)
    first, second = (counted(lambda: turn.run(batch)).flop for _ in range(2))
    assert first == second > 0
