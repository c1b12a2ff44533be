"""RecBole's own logging has both stages: TensorBoard and Weights & Biases."""

import sys
from types import SimpleNamespace

import pytest
import torch
from recbole.utils import get_model, get_trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_clickprompt.evaluation.run_folder import open_run


def trained(config, data):
    torch.manual_seed(config["seed"])
    model = get_model(config["model"])(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(data[0], data[1], verbose=False)
    result = trainer.evaluate(data[2])
    return trainer, result


def scalars(trainer):
    trainer.tensorboard.flush()
    events = EventAccumulator(trainer.tensorboard.log_dir)
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_every_epoch_of_both_stages_whether_pretraining_ran_or_was_reused(
    make_config, make_data, tmp_path, monkeypatch
):
    config = make_config("ClickPromptNoPLM", pretrain_epochs=2, checkpoint_dir=str(tmp_path / "saved"))
    data = make_data(config)
    for pretraining in ("ran", "reused"):
        # RecBole's folder for events has the second in its name, and these runs would share one
        (tmp_path / pretraining).mkdir()
        monkeypatch.chdir(tmp_path / pretraining)
        trainer, _ = trained(config, data)
        found, history = scalars(trainer), open_run(trainer.saved_model_file).history()
        for tag, stage, column in (
            ("Loss/Pretrain/mlm", "pretrain", "mlm_loss"),
            ("Accuracy/Pretrain/mlm", "pretrain", "mlm_accuracy"),
            ("Loss/Train", "finetune", "train_loss"),
            ("Vaild_score", "finetune", "valid_auc"),
        ):
            expected = history.loc[history["stage"] == stage, column].tolist()
            assert len(expected) == 2
            assert [step for step, _ in found[tag]] == [0, 1]
            assert [value for _, value in found[tag]] == pytest.approx(expected, rel=1e-6)


def test_weights_and_biases_has_both_stages_and_the_result(make_config, make_data, monkeypatch):
    logged, summary = [], {}
    wandb = SimpleNamespace(
        run=None,
        define_metric=lambda *_, **__: None,
        log=lambda metrics, commit=True: logged.append(dict(metrics)),
    )
    wandb.init = lambda **_: setattr(wandb, "run", SimpleNamespace(summary=summary))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = make_config("ClickPromptNoPLM", log_wandb=True)
    trainer, result = trained(config, make_data(config))
    history = open_run(trainer.saved_model_file).history().set_index("stage")
    pretrain, *finetune = logged
    assert pretrain == {
        "pretrain/epoch": 0,
        "pretrain/mlm_loss": history.loc["pretrain", "mlm_loss"],
        "pretrain/mlm_accuracy": history.loc["pretrain", "mlm_accuracy"],
    }
    losses = [line["train/train_loss"] for line in finetune if "train/train_loss" in line]
    assert losses == history.loc["finetune", "train_loss"].tolist()
    areas = [line["valid/auc"] for line in finetune if "valid/auc" in line]
    assert areas == history.loc["finetune", "valid_auc"].tolist()
    assert summary["eval/auc"] == result["auc"]
