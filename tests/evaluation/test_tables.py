import pandas as pd
import pytest

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.tables import markdown_table, number, percent, with_interval, write_table

NAN = float("nan")
TABLE = pd.DataFrame({"run": ["a", "b"], "auc": [1 / 3, NAN]})


def test_cells():
    assert number(0.12345) == "0.1235"
    assert number(NAN) == ""
    assert with_interval(0.5, 0.25, 0.75, ".2f") == "0.50 [0.25, 0.75]"
    assert with_interval(0.5, NAN, NAN, ".2f") == "0.50"
    assert percent(0.0057) == "+0.57 %"
    assert percent(-1e-9, -0.01, 0.02) == "+0.00 [-1.00, +2.00] %"
    assert percent(NAN) == ""


def test_markdown_keeps_bars_of_a_name_inside_its_cell():
    assert markdown_table(["run"], [["a|b"]]).splitlines() == ["| run |", "| --- |", "| a\\|b |"]


@pytest.mark.parametrize(
    ("suffix", "read"), [(".csv", pd.read_csv), (".parquet", pd.read_parquet), (".json", pd.read_json)]
)
def test_a_table_comes_back_from_its_file(tmp_path, suffix, read):
    path = tmp_path / "new" / f"table{suffix}"
    write_table(TABLE, path)
    pd.testing.assert_frame_equal(read(path), TABLE)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_another_suffix_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(SettingError, match="must end in one of .csv, .parquet, .json"):
        write_table(TABLE, tmp_path / "new" / "table.xlsx")
    assert list(tmp_path.iterdir()) == []
