"""CTRL: two passes are one, finetuning is that of the backbone, and a whole run leaves what every run leaves."""

import math
from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.utils import get_model

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.ctrl.model import Contrast, build_contrast, evaluate_contrast
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.gradient_caching import whole_batch_size
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components
from tests.conftest import SHORT

DCN = {"backbone": "DCNV2"}


@pytest.fixture
def make_contrast(make_config, make_data):
    def make(**settings):
        config = make_config("CTRL", **{**DCN, **settings})
        dataset = make_data(config)[0]._dataset
        torch.manual_seed(5)
        return build_contrast(config, dataset).train(), dataset

    return make


def gradients(model, batch, size):
    """Loss of a batch in parts of ``size`` rows, and the gradient of every parameter, as in the trainer."""
    model.zero_grad()
    torch.manual_seed(9)
    total = 0.0
    for part, weight in model.split(batch, size):
        loss = weight * model.calculate_loss(part)
        loss.backward()
        total += loss.item()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "settings", [{}, {"contrast_subspaces": 1}, {"mask_equal": True}, {"contrast_pooling": "avg"}]
)
def test_two_passes_have_loss_and_gradients_of_one(make_contrast, settings):
    model, dataset = make_contrast(plm_dropout=0.0, dropout_prob=0.0, **settings)
    batch = dataset[torch.arange(64)]
    whole, expected = gradients(model, batch, 64)
    by_hand = model.batch_loss(batch, model.represent(batch))
    assert whole == pytest.approx(by_hand.item(), abs=1e-6)
    for size in (7, 32):
        loss, found = gradients(model, batch, size)
        assert loss == pytest.approx(whole, abs=1e-5)
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-5, msg=name)
    assert {name.partition(".")[0] for name in expected} == {"backbone", "plm", "tabular", "textual"}
    assert not [name for name in expected if "predict_layer" in name]  # the last layer has no part in it


def test_both_passes_drop_out_the_same_and_batches_do_not(make_contrast):
    model, dataset = make_contrast(plm_dropout=0.3, dropout_prob=0.3)
    batch, seen, represent = dataset[torch.arange(64)], [], model.represent
    model.represent = lambda rows: (seen.append((found := represent(rows)).detach()), found)[1]
    for _ in range(2):
        for part, _ in model.split(batch, 16):
            model.calculate_loss(part)
    for start in (0, 8):
        assert all(map(torch.equal, seen[start : start + 4], seen[start + 4 : start + 8]))
    assert not torch.allclose(seen[0], seen[8])


def test_running_statistics_are_updated_by_one_pass_alone(make_contrast):
    statistics = []
    for size in (16, 64):
        model, dataset = make_contrast(backbone="DIN", history_length=3, plm_dropout=0.0, dropout_prob=0.0)
        for part, _ in model.split(dataset[torch.arange(64)], size):
            if size == 64 or len(statistics) == 0:
                model.calculate_loss(part)
        statistics.append({name: b.clone() for name, b in model.named_buffers() if "num_batches" in name})
    assert statistics[0]
    assert {int(count) for count in statistics[0].values()} == {4}  # parts
    assert {int(count) for count in statistics[1].values()} == {1}


def test_it_learns_which_text_belongs_to_which_row(make_contrast):
    model, dataset = make_contrast(
        plm_dropout=0.0, dropout_prob=0.0, plm_num_layers=1, contrast_pooling="avg", contrast_temperature=0.2
    )
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=0.02, plm_learning_rate=0.01, weight_decay=0.0
    )
    batch, losses = dataset[torch.arange(32)], []
    for _ in range(30):
        losses.append(gradients(model, batch, 16)[0])
        optimizer.step()
    assert losses[0] > math.log(32) - 0.3  # of texts chosen at random
    assert losses[-1] < 0.5
    loss, accuracy = model.metrics["contrast"].compute_and_reset(torch.device("cpu"))
    assert loss == pytest.approx(sum(losses) / 30, abs=1e-5)
    assert 1 / 32 < accuracy <= 1


def test_labels_are_not_read(make_contrast):
    model, dataset = make_contrast(plm_dropout=0.0)
    batch, flipped = dataset[torch.arange(32)], dataset[torch.arange(32)]
    flipped.interaction["label"] = 1 - batch["label"]
    assert gradients(model, batch, 16)[0] == gradients(model, flipped, 16)[0]


def test_its_evaluation_is_deterministic_and_without_dropout(make_config, make_data, make_contrast):
    data = make_data(make_config("CTRL", **DCN))
    results = []
    model, _ = make_contrast(plm_dropout=0.5)
    for micro_batch_size in (8, 32, 32):
        config = make_config("CTRL", **DCN, micro_batch_size=micro_batch_size, pretrain_batch_size=50)
        results.append(evaluate_contrast(config, model.train(), data[1]))
    assert results[1] == results[2]
    assert results[0] == pytest.approx(results[1], abs=1e-6)
    assert results[0].keys() == {"contrast_loss", "contrast_accuracy"}
    assert 0 < results[0]["contrast_accuracy"] < 1


@pytest.mark.parametrize(
    ("rows", "size", "expected"),
    [
        (100, 50, 50), (101, 50, 49), (99, 50, 50), (2, 6400, 6400), (1, 6400, 6400), (0, 5, 5), (5, 2, 3),
        (3, 2, 3), (7, 3, 4), (13, 4, 5), (13, 3, 5), (6401, 6400, 6399), (6400 * 6399 + 1, 6400, 6398),
    ],
)  # fmt: skip
def test_no_batch_is_left_with_one_row(rows, size, expected):
    assert whole_batch_size(rows, size) == expected
    assert rows < 2 or rows % expected != 1


def test_every_batch_of_a_run_has_negatives(small, monkeypatch):
    seen, batch_loss = [], Contrast.batch_loss

    def recorded(self, interaction, representations):
        seen.append(len(interaction))
        return batch_loss(self, interaction, representations)

    monkeypatch.setattr(Contrast, "batch_loss", recorded)
    settings = {**small, **SHORT, **DCN, "train_stage": "contrast", "pretrain_epochs": 1, "pretrain_rows": 33}
    settings = {**settings, "pretrain_batch_size": 16, "micro_batch_size": 64}
    run_recbole(model="CTRL", dataset="tiny", config_dict={**settings, "seed": 3})
    assert seen[:3] == [15, 15, 3]  # and not 16, 16, 1; no row is left out
    assert min(seen) > 1  # of validation and test


def test_a_contrast_of_single_rows_is_an_error(make_config, make_data, small):
    with pytest.raises(SettingError, match="pretrain_batch_size must be an integer, 2 or more, got 1"):
        make_config("CTRL", **DCN, pretrain_batch_size=1)
    assert make_config("ClickPrompt", **DCN, pretrain_batch_size=1)["pretrain_batch_size"] == 1
    settings = {**small, **SHORT, **DCN, "train_stage": "contrast", "pretrain_rows": 1}
    with pytest.raises(SettingError, match="contrast needs two rows or more, and pretrain_rows leaves 1"):
        run_recbole(model="CTRL", dataset="tiny", config_dict=settings)


def test_finetuning_costs_what_the_backbone_costs(make_config, make_data):
    config = make_config("CTRL", **DCN, train_stage="finetune")
    dataset = make_data(config)[0]._dataset
    ours, plain = get_model("CTRL")(config, dataset), get_model("ClickPromptNoPLM")(config, dataset)
    assert [(n, type(m)) for n, m in ours.named_modules()][1:] == [(n, type(m)) for n, m in plain.named_modules()][
        1:
    ]
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in plain.named_parameters()}


def test_it_finetunes_as_the_backbone_alone_from_the_same_checkpoint(small):
    settings = {**small, **SHORT, **DCN, "epochs": 1, "load_pretrained": "all"}
    run_recbole(model="CTRL", dataset="tiny", config_dict=settings)
    (stage,) = Path("saved").glob("tiny-DCNV2-contrast-*.safetensors")
    same = {"learning_rate": 1e-3, "plm_learning_rate": 0.0, "weight_decay": 0.0, "warmup_ratio": 0.0}
    again = {
        **settings,
        **same,
        "lr_scheduler": "constant",
        "train_stage": "finetune",
        "pre_model_path": str(stage),
    }
    run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict=again)
    ours, theirs = (
        torch.load(next(Path("saved").glob(f"{name}-*.pth")))["state_dict"]
        for name in ("CTRL", "ClickPromptNoPLM")
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    folder = open_run(next(Path("saved").glob("CTRL-*.pth")))
    history = folder.history()
    assert list(history["stage"].unique()) == ["contrast", "finetune"]
    assert history["contrast_loss"].notna().any()
    table = folder.predictions("test")
    assert torch.sigmoid(torch.tensor(table["logit_ctr"])).numpy() == pytest.approx(table["score"], abs=1e-6)
    rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"}).assign(device="phone")
    assert load_model(folder.checkpoint).predict(rows).shape == (len(rows),)
    assert folder.info["title"] == "CTRL (DCNV2)"


def test_its_last_layer_is_as_new_after_the_contrast(make_config, make_data, small):
    settings = {**small, **SHORT, **DCN, "train_stage": "contrast"}
    result = run_recbole(model="CTRL", dataset="tiny", config_dict=settings)
    assert result["best_valid_score"] == pytest.approx(result["best_valid_result"]["contrast_accuracy"])
    (stage,) = Path("saved").glob("tiny-DCNV2-contrast-*.safetensors")
    config = make_config("CTRL", **DCN)
    torch.manual_seed(config["seed"])
    fresh = build_contrast(config, make_data(config)[0]._dataset).backbone
    trained = get_model("CTRL")(config, make_data(config)[0]._dataset)
    load_components(trained, stage, ("backbone",))
    changed = {
        name
        for name, weight in trained.backbone.named_parameters()
        if not torch.equal(weight, dict(fresh.named_parameters())[name])
    }
    assert any("embedding" in name for name in changed)
    assert not [name for name in changed if "predict_layer" in name]


def test_settings_that_contradict_each_other_are_refused(make_config):
    with pytest.raises(SettingError, match="contrast_subspaces is 3, which does not divide contrast_width: 128"):
        make_config("CTRL", **DCN, contrast_subspaces=3)
    with pytest.raises(SettingError, match="train_stage must be one of all, contrast, finetune, got 'pretrain'"):
        make_config("CTRL", **DCN, train_stage="pretrain")


def test_its_backbone_is_autoint_unless_another_one_is_asked_for(make_config):
    assert make_config("CTRL")["backbone"] == "AutoInt"
    assert make_config("CTRL")["n_layers"] == 6
    assert make_config("ClickPromptNoPLM")["backbone"] == "DCNV2"
    assert find_method("CTRL").title(make_config("CTRL")) == "CTRL (AutoInt)"
