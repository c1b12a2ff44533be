"""Training and pretraining on samples of the rows."""

import pandas as pd
import pytest
import torch
from recbole.utils import get_model, get_trainer

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.clickprompt.pretraining import pretraining_rows
from recbole_clickprompt.trainer.sampling import finetuning_loader, sample, sample_negatives
from recbole_clickprompt.trainer.stage import TrainingStage


def rows_of(part):
    return pd.DataFrame({name: part.inter_feat[name].tolist() for name in ("user_id", "item_id", "label")})


def train(config, data):
    torch.manual_seed(config["seed"])
    model = get_model(config["model"])(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(*data[:2], verbose=False)
    return trainer


def test_samples_are_nested_keep_the_order_and_follow_the_seed(make_config, make_data):
    drawn = {}
    for seed, number in ((1, 40), (1, 90), (2, 90)):
        config = make_config(train_rows=number, pretrain_rows=number, seed=seed)
        data = make_data(config)
        part, whole = sample(config, data[0]._dataset, "train_rows"), data[0]._dataset
        assert len(part) == number < len(whole)
        assert part.times.tolist() == sorted(part.times.tolist())
        assert rows_of(part).equals(rows_of(pretraining_rows(config, *data[:2])))
        drawn[seed, number] = {tuple(row) for row in rows_of(part).to_numpy().tolist()}
        assert drawn[seed, number] <= {tuple(row) for row in rows_of(whole).to_numpy().tolist()}
    assert drawn[1, 40] < drawn[1, 90]
    assert drawn[1, 90] != drawn[2, 90]


def test_without_a_number_all_rows_are_taken(make_config, make_data):
    config = make_config()
    data = make_data(config)
    assert finetuning_loader(config, data[0]) is data[0]
    assert pretraining_rows(config, *data[:2]) is data[0]._dataset


def test_the_control_deals_the_items_out_anew_for_pretraining_alone(make_config, make_data):
    def rows_by(seed):
        config = make_config(pretrain_shuffle_items=True, seed=seed)
        train_data, valid_data, _ = make_data(config)
        before = rows_of(train_data._dataset)
        dealt = pretraining_rows(config, train_data, valid_data)
        assert rows_of(train_data._dataset).equals(before)
        return before, rows_of(dealt), dealt

    before, after, dealt = rows_by(1)
    assert after[["user_id", "label"]].equals(before[["user_id", "label"]])
    assert sorted(after["item_id"]) == sorted(before["item_id"])
    assert (after["item_id"] != before["item_id"]).mean() > 0.8
    assert after.equals(rows_by(1)[1])
    assert not after.equals(rows_by(2)[1])
    batch = dealt[torch.arange(len(dealt))]  # as a loader reads it, with the features of each item
    assert torch.equal(batch["title"], dealt.item_feat["title"][batch["item_id"]])


@pytest.mark.parametrize("setting", ["train_rows", "pretrain_rows"])
def test_more_rows_than_there_are_is_an_error_before_anything_is_trained(
    make_config, make_data, tmp_path, setting
):
    config = make_config(**{setting: 100_000})
    with pytest.raises(SettingError, match=f"{setting} is 100000, but there are only .* rows; leave it out"):
        train(config, make_data(config))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_each_stage_passes_over_its_own_rows(make_config, make_data, monkeypatch):
    config = make_config(train_rows=70, pretrain_rows=100, epochs=1)
    data = make_data(config)
    seen = {"pretrain": 0, "finetune": 0}
    batch = TrainingStage.train_batch

    def counted(self, interaction):
        seen[self.name] += len(interaction)
        return batch(self, interaction)

    monkeypatch.setattr(TrainingStage, "train_batch", counted)
    trainer = train(config, data)
    assert seen == {"pretrain": 100, "finetune": 70}
    trainer.evaluate(data[2])
    folder = open_run(trainer.saved_model_file)
    counts = folder.train_counts()
    assert counts[counts["kind"] == "user"]["rows"].sum() == 70
    assert len(folder.predictions()) == len(data[1]._dataset) + len(data[2]._dataset)


def test_ids_that_only_pretraining_saw_keep_what_they_learnt(make_config, make_data):
    config = make_config(train_rows=5, epochs=1, unseen_id_embeddings="zero")
    data = make_data(config)
    table = train(config, data).model.backbone.model.token_embedding_table.embedding.weight
    assert table[data[0]._dataset.inter_feat["user_id"].unique()].any(1).all()
    config = make_config(train_rows=5, epochs=1, unseen_id_embeddings="zero", train_stage="finetune")
    table = train(config, data := make_data(config)).model.backbone.model.token_embedding_table.embedding.weight
    assert table[1 : data[0]._dataset.num("user_id")].any(1).sum() <= 5


def test_a_share_of_the_negatives_is_drawn_and_all_positives_stay(make_config, make_data):
    drawn = {}
    for share in (0.2, 0.5):
        config = make_config(train_negatives=share)
        whole = make_data(config)[0]._dataset
        part = rows_of(sample_negatives(config, whole))
        label = rows_of(whole)["label"]
        assert part["label"].sum() == label.sum()
        assert (part["label"] == 0).sum() == pytest.approx(share * (label == 0).sum(), rel=0.2)
        drawn[share] = set(map(tuple, part.to_numpy().tolist()))
    assert drawn[0.2] < drawn[0.5]


@pytest.mark.parametrize(
    "model",
    [
        "ClickPrompt",
        "ClickPromptNoPLM",
        "PTab",
        "CTRBERT",
        "CTRL",
        "FLIP",
        "NumBERTLike",
        "BERT4CTRLike",
        "CharMatchLike",
    ],
)
def test_scores_are_corrected_for_dropped_negatives(make_config, make_data, model):
    config = make_config(model, train_negatives=0.25, train_stage="finetune")
    data = make_data(config)
    batch = next(iter(data[2]))[0]
    torch.manual_seed(0)
    corrected = get_model(model)(config, data[0]._dataset).eval()
    torch.manual_seed(0)
    plain = get_model(model)(make_config(model, train_stage="finetune"), data[0]._dataset).eval()
    with torch.no_grad():
        ours, scores = corrected.predict(batch), plain.predict(batch)
    # s / (s + (1 - s) / w), as a share w of the negatives was trained on (He et al. 2014, Sec. 6.3)
    torch.testing.assert_close(ours, scores / (scores + (1 - scores) / 0.25))


def test_a_positive_row_counts_as_often_as_its_weight_says(make_config, make_data):
    weighted, plain = (make_config("ClickPromptNoPLM", train_stage="finetune", pos_weight=w) for w in (3.0, 1.0))
    rows = next(iter(make_data(plain)[0]))
    losses = {}
    for name, config in (("weighted", weighted), ("plain", plain)):
        torch.manual_seed(0)
        model = get_model("ClickPromptNoPLM")(config, make_data(config)[0]._dataset).eval()
        losses[name] = model.calculate_loss(rows).item()
        by_label = [rows[(rows["label"] > 0) == bool(label)] for label in (0, 1)]
        losses |= {f"{name} {label}": model.calculate_loss(part).item() for label, part in enumerate(by_label)}
    assert losses["weighted 0"] == pytest.approx(losses["plain 0"])
    assert losses["weighted 1"] == pytest.approx(3 * losses["plain 1"], rel=1e-5)
