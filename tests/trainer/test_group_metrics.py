"""GAUC as a metric and as what selects the best epoch."""

import numpy as np
import pytest
from recbole.utils import get_model, get_trainer
from sklearn.metrics import roc_auc_score

from recbole_clickprompt.errors import DataError, TrainingError
from recbole_clickprompt.evaluation.run_folder import open_run

PLAIN = {"train_stage": "finetune", "epochs": 1}


def trained(make_config, make_data, **settings):
    config = make_config("ClickPromptNoPLM", **PLAIN, **settings)
    data = make_data(config)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(
        config, get_model(config["model"])(config, data[0]._dataset)
    )
    best, _ = trainer.fit(*data[:2], verbose=False)
    return trainer, data, best, trainer.evaluate(data[2])


def by_hand(trainer, part, field):
    table = open_run(trainer._run_logger.folder).predictions()
    table = table[table["split"] == part.name]
    groups = part.dataset.inter_feat[field].numpy()
    total = weights = 0
    for group in np.unique(groups):
        rows = table[groups == group]
        if 0 < rows["label"].sum() < len(rows):
            total += len(rows) * roc_auc_score(rows["label"], rows["score"])
            weights += len(rows)
    return total / weights


class Part:
    def __init__(self, name, loader):
        self.name, self.dataset = name, loader._dataset


@pytest.mark.parametrize(
    ("settings", "field", "names"),
    [
        ({"metrics": ["LogLoss", "GAUC", "AUC"]}, "user_id", ["logloss", "gauc", "auc"]),
        ({"metrics": "GAUC", "valid_metric": "GAUC", "gauc_field": "device"}, "device", ["gauc"]),
    ],
)
def test_it_is_the_auc_within_groups_weighted_by_their_rows(make_config, make_data, settings, field, names):
    trainer, data, best, result = trained(make_config, make_data, **settings)
    assert list(result) == names
    assert result["gauc"] == pytest.approx(by_hand(trainer, Part("test", data[2]), field), abs=1e-6)
    if settings.get("valid_metric") == "GAUC":
        assert best == pytest.approx(by_hand(trainer, Part("valid", data[1]), field), abs=1e-6)


def test_fields_without_groups_are_refused(make_config, make_data, monkeypatch):
    with pytest.raises(DataError, match=r"gauc_field names 'year', which is not a loaded token field; .*device"):
        make_data(make_config("ClickPromptNoPLM", metrics=["GAUC", "AUC"], gauc_field="year", load_col=None))
    monkeypatch.setattr("recbole_clickprompt.trainer.group_metrics.gauc", lambda *_: float("nan"))
    with pytest.raises(TrainingError, match="no group of validation rows has both labels"):
        trained(make_config, make_data, metrics=["GAUC"], valid_metric="GAUC")


def test_recboles_own_models_keep_their_metric():
    from recbole.config import Config
    from recbole.utils import EvaluatorType

    config = Config("BPR", "ml-100k", None, {"gpu_id": "", "metrics": ["GAUC"], "valid_metric": "GAUC"})
    assert config["eval_type"] is EvaluatorType.RANKING
    assert config["metrics"] == ["GAUC"]
