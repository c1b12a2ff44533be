from pathlib import Path

import pandas as pd
import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.evaluation.comparison import check_same_rows
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.trainer.predictions import predict_split, row_keys

CPU = torch.device("cpu")


def scores(run):
    return predict_split(run.model, run.test_data, split="test", device=CPU, enable_amp=False, show_progress=False)


def test_a_restored_model_scores_its_test_rows_as_when_it_was_tested(trained_runs):
    for path in trained_runs.values():
        kept, again = open_run(path).predictions("test"), scores(restore(path, device=CPU))
        check_same_rows({"kept": kept, "again": again})
        assert set(again) == {name for name in kept if not name.startswith("baseline_")}
        for column in [name for name in kept if name.startswith(("score", "logit", "fusion"))]:
            assert again[column].to_numpy() == pytest.approx(kept[column].to_numpy(), abs=1e-6, nan_ok=True)


def test_rows_that_were_shuffled_before_the_split_come_back_the_same(small):
    shuffled = {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": None, "mode": "labeled"}
    settings = {**small, "train_stage": "finetune", "epochs": 1, "eval_args": shuffled}
    run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict=settings)
    (path,) = Path("saved").glob("*.pth")
    torch.manual_seed(99)  # whatever happened before
    restored = restore(path, device=CPU)
    kept, again = open_run(path).predictions("test"), row_keys(restored.test_data._dataset)
    assert len(again) > 0
    pd.testing.assert_frame_equal(again, kept[list(again.columns)])


def test_weights_that_do_not_fit_the_data_are_told(trained_runs, tmp_path):
    saved = torch.load(trained_runs["plain"])
    name = next(name for name, weight in saved["state_dict"].items() if weight.ndim == 2)
    saved["state_dict"][name] = saved["state_dict"][name][:-1]
    torch.save(saved, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit the current data set tiny"):
        restore(tmp_path / "other.pth", device=CPU)
