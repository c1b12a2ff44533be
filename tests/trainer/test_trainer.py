"""Both stages through RecBole's trainer interface."""

import threading

import pytest
import torch
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_clickprompt.errors import TrainingError
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.conftest import SHORT


def train(config, data, **options):
    torch.manual_seed(config["seed"])
    model = get_model(config["model"])(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return trainer, trainer.fit(data[0], data[1], verbose=False, **options)


def test_pretraining_changes_where_finetuning_begins(make_config, make_data):
    def first_loss(**settings):
        config = make_config("ClickPromptNoPLM", epochs=1, **settings)
        return train(config, make_data(config))[0].train_loss_dict[0]

    assert first_loss(train_stage="finetune") != first_loss(train_stage="all")


def test_finetuning_from_a_named_checkpoint_equals_both_stages_in_one(make_config, make_data):
    config = make_config(**SHORT)
    both = train(config, make_data(config))[1]
    (path,) = (p for p in map(str, __import__("pathlib").Path("saved").glob("*.safetensors")))
    config = make_config(train_stage="finetune", pre_model_path=path, **SHORT)
    assert train(config, make_data(config))[1] == both


def test_a_reused_pretraining_gives_the_same_result(make_config, make_data):
    results = []
    for _ in range(2):
        config = make_config(**SHORT)
        results.append(train(config, make_data(config))[1])
    assert results[0] == results[1]


def test_a_frozen_plm_stays_as_it_was_while_the_rest_learns(make_config, make_data):
    config = make_config(train_stage="finetune", plm_learning_rate=0.0, epochs=1, **SHORT)
    data = make_data(config)
    torch.manual_seed(config["seed"])
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    before = {name: p.clone() for name, p in model.named_parameters()}
    get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model).fit(data[0], data[1], verbose=False)
    changed = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"backbone", "prompt", "head", "fusion_weight"}


def test_bf16_follows_float32(make_config, make_data):
    losses = []
    for amp in (False, True):
        config = make_config(train_stage="finetune", enable_amp=amp, plm_dropout=0.0, **SHORT)
        losses.append(list(train(config, make_data(config))[0].train_loss_dict.values()))
    assert losses[1] == pytest.approx(losses[0], abs=0.01)
    assert losses[1] != losses[0]


def test_training_stops_after_epochs_without_a_better_auc(make_config, make_data):
    config = make_config(
        "ClickPromptNoPLM", train_stage="finetune", epochs=50, stopping_step=1, learning_rate=0.05
    )
    trainer, (score, result) = train(config, make_data(config))
    assert len(trainer.train_loss_dict) < 50
    assert result["auc"] == score


def test_the_best_epoch_is_tested_and_not_the_last_one(make_config, make_data, monkeypatch):
    scores = iter([0.9, 0.1])
    monkeypatch.setattr(Trainer, "_valid_epoch", lambda *_: (score := next(scores), {"auc": score}))
    config = make_config("ClickPromptNoPLM", train_stage="finetune", learning_rate=0.01, **SHORT)
    data = make_data(config)
    trainer, _ = train(config, data)
    last = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    trainer.evaluate(data[2])
    best, tested = torch.load(trainer.saved_model_file)["state_dict"], trainer.model.state_dict()
    assert all(torch.equal(tested[name], weight) for name, weight in best.items())
    assert any(not torch.equal(tested[name], weight) for name, weight in last.items())


def test_a_run_never_shares_its_file(make_config, make_data):
    config = make_config("ClickPromptNoPLM", train_stage="finetune")
    data = make_data(config)
    model = get_model("ClickPromptNoPLM")(config, data[0]._dataset)
    files = {get_trainer(config["MODEL_TYPE"], config["model"])(config, model).saved_model_file for _ in range(3)}
    assert len(files) == 3


def test_tensorboard_has_both_losses_and_the_mlm_accuracy(make_config, make_data):
    config = make_config(**SHORT)
    trainer, _ = train(config, make_data(config))
    trainer.tensorboard.flush()
    events = EventAccumulator(trainer.tensorboard.log_dir)
    events.Reload()
    assert {"Loss/Pretrain/mlm", "Accuracy/Pretrain/mlm", "Loss/Train", "Vaild_score"} <= set(
        events.Tags()["scalars"]
    )


def test_a_run_leaves_no_thread_of_tensorboard(make_config, make_data):
    config = make_config(**SHORT)
    before = set(threading.enumerate())
    train(config, make_data(config))
    assert set(threading.enumerate()) <= before


def test_progress_bars_show_rows_a_second_and_time_left(make_config, make_data, capsys):
    config = make_config(show_progress=True, epochs=1)
    train(config, make_data(config), show_progress=True)
    err = capsys.readouterr().err
    for stage in ("pretrain 1/1", "finetune 1/1"):
        assert stage in err
    assert "rows/s" in err
    assert "stage left" in err


def test_gradients_are_clipped(make_config, make_data):
    config = make_config(
        "ClickPromptNoPLM",
        train_stage="finetune",
        clip_grad_norm={"max_norm": 1e-3},
        learner="sgd",
        weight_decay=0.0,
    )
    data = make_data(config)
    model = get_model("ClickPromptNoPLM")(config, data[0]._dataset)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    stage = TrainingStage.from_config(config, name="x", model=model, optimizer=optimizer, steps=1, epochs=1,
                     schedule="constant", warmup_ratio=0.0, enable_amp=config["enable_amp"])  # fmt: skip
    stage.train_batch(next(iter(data[0])))
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_an_absurd_loss_ends_the_training(make_config, make_data, caplog):
    config = make_config(
        "ClickPromptNoPLM", train_stage="finetune", numerical_features=["year"], learning_rate=1.0
    )
    data = make_data(config)
    assert "the feature year ranges from 1950 to 1999 and is not scaled" in caplog.text
    with pytest.raises(
        TrainingError, match="finetune: the mean loss of epoch 1 is .*, where random scores have about"
    ):
        train(config, data)


def test_scaled_numbers_are_no_reason_to_warn(make_config, make_data, caplog):
    make_data(make_config(numerical_features=["year"], normalize_field=["year"]))
    make_data(make_config(numerical_features=["year"], discretization={"year": {"method": "LD"}}))
    assert "is not scaled" not in caplog.text


def test_a_validation_score_that_is_no_number_ends_the_training(make_config, make_data, monkeypatch):
    config = make_config("ClickPromptNoPLM", train_stage="finetune")
    monkeypatch.setattr(Trainer, "_valid_epoch", lambda *_: (float("nan"), {"auc": float("nan")}))
    with pytest.raises(TrainingError, match="the validation AUC is nan, so it cannot select an epoch"):
        train(config, make_data(config))
