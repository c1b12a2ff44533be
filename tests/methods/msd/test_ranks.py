"""Two processes train one model: they share texts and rows, and agree with a single process."""

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from tests.methods.msd.students import SETTINGS
from tests.ranks import on_ranks


def trained(student, folder):
    """Test metrics and weights of a short run."""
    config = Config(
        "MSD",
        "tiny",
        None,
        {
            **SETTINGS, "student": student, "epochs": 1, "train_rows": 300, "train_batch_size": 100,
            "plm_learning_rate": 0.01, "plm_lora": {"r": 4}, "checkpoint_dir": folder, "baselines": False,
            "save_predictions": False,
        },
    )  # fmt: skip
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    model = get_model("MSD")(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "MSD")(config, model)
    trainer.fit(train, valid, verbose=False)
    result = trainer.evaluate(test)
    return dict(result), {name: weight.clone() for name, weight in model.state_dict().items()}


def test_two_processes_train_the_model_of_one(student, tmp_path):
    alone, weights = trained(str(student), str(tmp_path / "alone"))
    first, second = on_ranks(trained, str(student), str(tmp_path / "both"))
    for name, weight in first[1].items():
        assert torch.equal(weight, second[1][name]), name
        torch.testing.assert_close(weight, weights[name], atol=2e-3, rtol=1e-2)
    assert first[0] == second[0]
    assert abs(first[0]["auc"] - alone["auc"]) < 0.01
