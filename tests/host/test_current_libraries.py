"""RecBole with NumPy 2, pandas 3 and without ray."""

import subprocess
import sys

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset

WITHOUT_RAY = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "ray" else find(name, *rest)
import recbole_clickprompt
from recbole.quick_start.quick_start import objective_function, tune
print(tune.report(auc=0.5), tune.__file__ if hasattr(tune, "__file__") else "ours")
"""


def test_without_ray_recbole_reports_to_nothing():
    run = subprocess.run([sys.executable, "-c", WITHOUT_RAY], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("None ours\n")


def test_names_that_numpy_removed_are_there():
    config = Config("DNN", "ml-100k", None, {"gpu_id": ""})
    config.compatibility_settings()
    assert np.dtype(np.float) == np.float64
    assert np.dtype(np.object) == np.object_


@pytest.fixture
def sequences(tmp_path):
    """A data set of RecBole's with missing values in fields of each type."""
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "few.inter").write_text(
        "user_id:token\titem_id:token\tlabel:float\nu1\ti1\t1\nu2\ti2\t0\nu1\ti3\t1\n"
    )
    (folder / "few.item").write_text(
        "item_id:token\tgenre:token_seq\tprice:float\tsizes:float_seq\ncolor\n".replace("\ncolor", "\tcolor:token")
        + "i1\ta b\t2\t1 3\tred\ni2\t\t\t5\t\ni3\tb\t4\t2 2 4\tblue\n"
    )
    return tmp_path


# What RecBole makes of the file under pandas 2; row 0 stands for unknown items
SCALED = {
    "normalize_field": (
        ["price", "sizes"],
        [0.5, 0.0, 0.5, 1.0],
        [[[], []], [[0.0, 0.5], [1.0, 1.0]], [[1.0], [1.0]], [[0.25, 0.25, 0.75], [1.0, 1.0, 1.0]]],
    ),
    "discretization": (
        {"sizes": {"method": "LD"}},
        [3.0, 2.0, 3.0, 4.0],
        [[[], []], [[1.0, 1.0], [0.0, 1.0]], [[1.0], [2.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]],
    ),
}


@pytest.mark.parametrize("setting", SCALED)
def test_recboles_own_data_set_fills_and_scales_as_under_pandas_2(sequences, setting):
    value, prices, sizes = SCALED[setting]
    config = Config("LR", "few", None, {
        "data_path": str(sequences), "gpu_id": "", "load_col": None, "numerical_features": ["price", "sizes"],
        "LABEL_FIELD": "label", setting: value,
        "eval_args": {"split": {"RS": [1, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"},
    })  # fmt: skip
    feat = create_dataset(config).item_feat
    assert [len(genres) for genres in feat["genre"]] == [0, 2, 0, 1]
    assert feat["color"].tolist() == [0, 1, 0, 2]
    assert [price[0] for price in feat["price"]] == prices
    assert [[list(map(float, row)) for row in pair] for pair in feat["sizes"]] == sizes
