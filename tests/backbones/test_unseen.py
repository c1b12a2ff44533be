"""Embeddings of what training never saw."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from recbole.utils import get_trainer

from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.backbones.unseen import zero_unseen_rows
from recbole_clickprompt.methods.clickprompt.model import ClickPromptNoPLM

ROOT = Path(__file__).parents[2]
UNSEEN = (3, 5)  # users


def build(make_config, make_data, **settings):
    config = make_config("ClickPromptNoPLM", **{"train_stage": "finetune", "epochs": 1, **settings})
    data = make_data(config)
    torch.manual_seed(0)
    return config, data, ClickPromptNoPLM(config, data[0]._dataset).eval()


def without(dataset, users):
    rows = dataset.inter_feat
    return dataset.copy(rows[~torch.isin(rows["user_id"], torch.tensor(users))])


@torch.no_grad()
def scores(model, dataset, user):
    rows = dataset.join(dataset.inter_feat[:20])
    rows["user_id"] = torch.full_like(rows["user_id"], user)
    return model.predict(rows)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_users_that_training_never_saw_are_told_from_one_another_by_their_features_alone(
    make_config, make_data, backbone
):
    _, data, model = build(make_config, make_data, backbone=backbone)
    dataset = without(data[0]._dataset, UNSEEN)
    seen = scores(model, dataset, 1)
    assert not torch.equal(scores(model, dataset, 3), scores(model, dataset, 5))
    assert zero_unseen_rows(model.backbone.model, [dataset]) >= len(UNSEEN)
    torch.testing.assert_close(scores(model, dataset, 3), scores(model, dataset, 5), rtol=0, atol=0)
    torch.testing.assert_close(scores(model, dataset, 0), scores(model, dataset, 5), rtol=0, atol=0)
    torch.testing.assert_close(scores(model, dataset, 1), seen, rtol=0, atol=0)


def test_a_value_is_seen_where_any_of_the_data_sets_or_a_user_in_it_has_it(make_config, make_data):
    _, data, model = build(make_config, make_data)
    whole, table = data[0]._dataset, model.backbone.model.token_embedding_table.embedding.weight
    zero_unseen_rows(model.backbone.model, [without(whole, UNSEEN), whole])
    names = model.backbone.model.token_field_names
    begins = dict(zip(names, model.backbone.model.token_field_offsets.tolist(), strict=True))
    read = whole.join(whole.inter_feat)
    for name in names:
        kept = {begins[name] + value for value in read[name].unique().tolist()}
        for row in range(begins[name], begins[name] + whole.num(name)):
            assert bool(table[row].any()) is (row in kept), (name, row - begins[name])


@pytest.fixture
def late(tmp_path):
    """Where a form of ``tiny`` lies in which some users come late only."""
    folder = tmp_path / "late" / "tiny"
    folder.mkdir(parents=True)
    for source in ("user", "item"):
        shutil.copy(ROOT / "dataset_atomic" / "tiny" / f"tiny.{source}", folder)
    rows = pd.read_csv(ROOT / "dataset_atomic" / "tiny" / "tiny.inter", sep="\t", dtype=str)
    order = rows["timestamp:float"].astype(float).rank(pct=True)
    last = rows["user_id:token"][order > 0.85].value_counts().index[:6]
    rows[~rows["user_id:token"].isin(last) | (order > 0.85)].to_csv(folder / "tiny.inter", sep="\t", index=False)
    return {"data_path": str(folder.parent)}


def unseen_users(part, *, but_in=None):
    number = part._dataset.num("user_id")
    unseen = set(range(1, number)) - set(part._dataset.inter_feat["user_id"].tolist())
    return sorted(unseen & set(but_in._dataset.inter_feat["user_id"].tolist()) if but_in else unseen)


def test_training_goes_as_before_and_what_it_never_read_stays_zero(make_config, make_data, late):
    trained = {}
    for choice in ("random", "zero"):
        config, data, model = build(make_config, make_data, unseen_id_embeddings=choice, **late)
        get_trainer(config["MODEL_TYPE"], config["model"])(config, model).fit(data[0], verbose=False, saved=False)
        trained[choice] = model.state_dict()
    name = "backbone.model.token_embedding_table.embedding.weight"
    for other in (key for key in trained["zero"] if "token_embedding_table" not in key):
        assert torch.equal(trained["zero"][other], trained["random"][other])
    users, zero = unseen_users(data[0]), ~trained["zero"][name].any(1)
    assert len(users) >= 4
    assert zero[users].all()
    assert torch.equal(trained["zero"][name][~zero], trained["random"][name][~zero])
    assert trained["random"][name][users].any(1).all()


@pytest.mark.parametrize(("pretrain_data", "are_zero"), [("train", True), ("train_valid", False)])
def test_ids_that_pretraining_saw_keep_what_they_learnt(make_config, make_data, late, pretrain_data, are_zero):
    config, data, model = build(
        make_config, make_data, train_stage="all", pretrain_data=pretrain_data, unseen_id_embeddings="zero", **late
    )
    get_trainer(config["MODEL_TYPE"], config["model"])(config, model).fit(*data[:2], verbose=False, saved=False)
    users = unseen_users(data[0], but_in=data[1])
    assert users
    table = model.backbone.model.token_embedding_table.embedding.weight
    assert (table[users] == 0).all(1).tolist() == [are_zero] * len(users)
