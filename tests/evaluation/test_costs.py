"""``costs.json`` of a run folder."""

import json

import pytest

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.evaluation.costs import (
    COST_HEADER,
    COSTS_FILE,
    Costs,
    cost_cells,
    read_costs,
    write_costs,
)

COSTS = Costs(
    parameters=23_000_000, served_parameters=120_000, minutes=12.5, warm_ms=0.75, warm_p95_ms=1, cold_ms=None,
    item_bytes=128, teacher_tokens=None, how="20 batches of 128 rows",
)  # fmt: skip


def test_costs_are_read_as_written_and_shown_in_words(tmp_path):
    assert read_costs(tmp_path) is None
    write_costs(tmp_path, COSTS)
    assert read_costs(tmp_path) == COSTS
    cells = cost_cells("a", COSTS)
    assert cells == ["a", "23,000,000", "120,000", "12.50", "0.750", "as warm", "128", "not recorded"]
    assert len(cells) == len(COST_HEADER)
    assert cost_cells("a", COSTS._replace(cold_ms=2.0, teacher_tokens=1234))[-3:] == ["2.000", "128", "1,234"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": "many"}, "parameters is 'many', which it cannot be"),
        ({"parameters": 1.5}, "parameters is 1.5"),
        ({"item_bytes": -1}, "item_bytes is -1"),
        ({"warm_ms": 0}, "warm_ms is 0"),
        ({"warm_ms": float("inf")}, "warm_ms is inf"),
        ({"minutes": True}, "minutes is True"),
        ({"warm_ms": None}, "warm_ms is None"),
        ({"how": 3}, "how is 3"),
        ({"more": 3}, "must hold parameters, served_parameters"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    (tmp_path / COSTS_FILE).write_text(json.dumps({**COSTS._asdict(), **change}))
    with pytest.raises(DataError, match=message):
        read_costs(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / COSTS_FILE).write_text(text)
    with pytest.raises(DataError, match=r"costs\.json (is damaged|must hold)"):
        read_costs(tmp_path)
