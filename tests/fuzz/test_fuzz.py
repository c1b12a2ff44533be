"""About a minute of the fuzzer; ``make fuzz`` runs thousands of mutations."""

import pytest

from tests.fuzz.cases import CASES
from tests.fuzz.material import build
from tests.fuzz.runner import failures, fuzz, table

MUTATIONS, SEED = 110, 2024  # fixed: a test must not fail by chance


@pytest.mark.slow
def test_mutated_inputs_give_their_result_or_one_line_of_error(tmp_path):
    material = build(tmp_path)
    verdicts = fuzz(CASES, material, numbers=range(MUTATIONS), seed=SEED, jobs=1, results=tmp_path / "failed")
    assert {verdict.kind for verdict in verdicts} <= {"exit 0", "exit 2"}, f"\n{failures(verdicts)}"
    assert len(verdicts) == MUTATIONS
    assert {verdict.case for verdict in verdicts} == {case.name for case in CASES}, f"\n{table(verdicts)}"
