"""The CTR model: which vectors it reads, when they are computed, and what is trained."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_model

from recbole_clickprompt.backbones import BACKBONES, WITHOUT_VECTORS
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.preprocessing.from_dataset import observe
from recbole_clickprompt.serving.schema_dataset import SchemaDataset
from recbole_clickprompt.trainer.optimizer import build_optimizer
from recbole_clickprompt.trainer.protocols import FollowsTraining
from recbole_clickprompt.trainer.text_vectors import EncodesTexts, encoded_levels

NO_DROPOUT = {"plm_lora": {"r": 4, "alpha": 8}}


def batch_of(dataset, rows=64):
    return dataset[torch.arange(rows)]


def step(model, batch, size=256, learning_rate=0.05):
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=learning_rate, plm_learning_rate=learning_rate, weight_decay=0.0
    )
    model.train()
    for part, weight in model.split(batch, size):
        (weight * model.calculate_loss(part)).backward()
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def scores(model, batch):
    return model.eval().predict(batch)


def test_vectors_are_those_of_user_target_and_near_items(build):
    model, (train, *_) = build(near_items=1)
    batch = batch_of(train)
    logits = model.eval().predict_logits(batch)["logit"]
    assert logits.dtype == torch.float32
    with torch.no_grad():
        user, target, near = model.vectors(batch).unbind(1)
        items, users = (model.texts.levels[name].adapted.rows for name in ("item", "user"))
    assert torch.equal(target, items[batch["item_id"]])
    assert torch.equal(user, users[batch["user_profile"]])
    for row in range(len(batch)):
        clicks = items[batch["item_id_list"][row, : batch["item_length"][row]]]
        if len(clicks):
            best = torch.nn.functional.cosine_similarity(clicks, target[row], dim=1, eps=1e-8).argmax()
            torch.testing.assert_close(near[row], clicks[best])
        else:
            assert torch.equal(near[row], model.near.no_history)
    # A history of the target alone: the fused vector is the target's
    batch["item_id_list"][:, 0], batch["item_length"][:] = batch["item_id"], 1
    with torch.no_grad():
        found = model.vectors(batch)
    assert torch.equal(found[:, 2], found[:, 1])


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"fuse_target": False, "train_texts": "all"}, 2),
        ({"user_knowledge": "none"}, 2),
        ({"fusion": "none", "history_length": None}, 2),
        ({"fusion": "none", "history_length": None, "user_knowledge": "none"}, 1),
        (
            {
                "fusion": "none",
                "history_length": None,
                "fuse_target": False,
                "user_knowledge": "static",
                "train_texts": "none",
            },
            1,
        ),
    ],
)
def test_levels_and_fusion_can_be_left_out(build, settings, count):
    model, (train, *_) = build(**settings)
    batch = batch_of(train)
    model.train()
    assert model.vectors(batch).shape == (64, count, 8)
    step(model, batch)
    assert scores(model, batch).isfinite().all()


def test_the_histogram_of_similarities_is_a_field_in_place_of_near_items(build):
    model, (train, *_) = build(fusion="histogram")
    batch = batch_of(train)
    model.train()
    assert model.vectors(batch).shape == (64, 3, 8)
    step(model, batch)
    assert model.near.projection.weight.any()
    found = scores(model, batch)
    batch["item_length"][:] = 0
    assert not torch.equal(scores(model, batch), found)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in WITHOUT_VECTORS])
def test_every_backbone_reads_the_vectors(build, backbone):
    model, (train, *_) = build(backbone=backbone)
    batch = batch_of(train)
    model.train()
    vectors = []
    read = model.vectors
    model.vectors = lambda rows: vectors.append(read(rows)) or vectors[-1]
    for value in (batch,):
        logit = model(value)
    vectors[0].retain_grad()
    model.vectors = lambda rows: vectors[0]
    model.cross_entropy(model(batch), batch["label"]).backward()
    assert logit.shape == (64,)
    assert vectors[0].grad.abs().sum(dim=(0, 2)).min() > 0


def test_with_zero_vectors_the_logits_are_those_of_empty_fields(build):
    model, (train, *_) = build(backbone="DNN")
    batch = batch_of(train)
    model.eval()
    model.vectors = lambda rows: torch.zeros(len(rows), 3, 8)
    network = model.backbone.model
    embeddings = network.concat_embed_input_fields(
        Interaction({**batch.interaction, "vectors:text": torch.zeros(64, 3, 8)})
    )
    assert embeddings.shape[1] == network.num_feature_field
    assert not embeddings[:, -3:].any()
    with torch.no_grad():
        assert model(batch).isfinite().all()


@pytest.mark.parametrize("backbone", ["DCNV2", "DIN"])
def test_parts_of_a_batch_have_the_gradients_of_the_whole(build, backbone):
    model, (train, *_) = build(**NO_DROPOUT, backbone=backbone, dropout_prob=0.0, micro_batch_size=10)
    batch = batch_of(train, 61)
    if backbone == "DIN":
        model.backbone.eval()  # its batch norm sees the rows of a part
    found = []
    for size in (10, 61):
        model.train()
        if backbone == "DIN":
            model.backbone.eval()
        model.zero_grad()
        parts = model.split(copy.deepcopy(batch), size)
        assert max(len(part) for part, _ in parts) <= size
        assert sum(weight for _, weight in parts) == pytest.approx(1)
        loss = sum(weight * model.calculate_loss(part) for part, weight in parts)
        loss.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((loss.item(), gradients))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-6, rtol=1e-4)
    assert any("lora_B" in name for name in found[0][1])


def test_equal_items_are_in_one_part(build):
    model, (train, *_) = build(micro_batch_size=16)
    model.train()
    parts = [set(part["item_id"].tolist()) for part, _ in model.split(batch_of(train, 128), 16)]
    assert sum(map(len, parts)) <= len(set.union(*parts)) + len(parts) - 1
    frozen, _ = build(train_texts="none")
    assert len(frozen.split(batch_of(train, 128), 16)) == 1


@pytest.mark.parametrize("texts", ["targets", "all", "none"])
def test_the_student_learns_from_the_texts_that_the_setting_names(build, texts):
    model, (train, *_) = build(**NO_DROPOUT, train_texts=texts, near_items=4)
    step(model, batch_of(train))  # LoRA's B is 0 at first, which hides A's gradient
    read = []
    encode = model.texts.student.encoder.forward
    model.texts.student.encoder.forward = lambda *inputs: read.append(len(inputs[1])) or encode(*inputs)
    model.train()
    model.begin_batch(0, 1)
    batch = batch_of(train)
    model.zero_grad()
    model.calculate_loss(batch).backward()
    targets = len(batch["item_id"].unique())
    clicked = batch["item_id_list"]
    everything = len(torch.cat([batch["item_id"], clicked.flatten()]).unique())
    texts_of = model.texts.levels["item"].index
    assert len(texts_of.unique()) == len(texts_of)
    assert sum(read) == {"targets": targets, "all": everything, "none": 0}[texts]
    assert bool(model.pretrained_parameters()) is True
    trained = [p for p in model.pretrained_parameters() if p.requires_grad]
    assert bool(trained) is (texts != "none")
    if texts == "all":
        assert all(p.grad.abs().sum() > 0 for p in trained)


def test_a_step_learns_from_as_many_texts_as_the_setting_says_whatever_its_parts(build):
    model, (train, *_) = build(**NO_DROPOUT, texts_per_step=5)
    step(model, batch_of(train))
    read, encoder = [], model.texts.student.encoder
    encode = encoder.forward
    encoder.forward = lambda *inputs: read.append(len(inputs[1])) or encode(*inputs)

    def gradients(batch, size, whole=False):
        model.train()
        model.begin_batch(0, batch)
        read.clear()
        model.zero_grad()
        parts = model.split(batch_of(train), size)
        if whole:
            for part, _ in parts:
                part.update(Interaction({"learned:item": torch.ones(len(part), dtype=torch.bool)}))
        sum(weight * model.calculate_loss(part) for part, weight in parts).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    distinct = len(batch_of(train)["item_id"].unique())
    assert distinct > 5
    model.begin_batch(0, 0)  # refreshes the table
    first, parts = gradients(1, 64), None
    assert sum(read) == 5
    parts = gradients(1, 10)
    assert sum(read) == 5
    for name, gradient in first.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-6, rtol=1e-4)
    other, all_texts = gradients(2, 64), gradients(1, 64, whole=True)
    assert sum(read) == distinct
    lora = next(name for name in first if "lora_B" in name)
    assert not torch.allclose(other[lora], first[lora])
    # vectors are the same, whichever of them have a gradient
    for name, gradient in first.items():
        if "lora" not in name:
            torch.testing.assert_close(all_texts[name], gradient, atol=1e-5, rtol=1e-3)


def test_texts_of_users_are_read_in_training_if_asked_for(build):
    model, (train, *_) = build(**NO_DROPOUT, train_user_texts=True)
    lengths = []
    encode = model.texts.student.encoder.forward
    model.texts.student.encoder.forward = lambda *inputs: lengths.append(len(inputs[1])) or encode(*inputs)
    model.train()
    batch = batch_of(train)
    model.calculate_loss(batch).backward()
    profiles = model.texts.levels["user"].index[batch["user_profile"]].unique()
    assert lengths[0] == len(profiles)


def test_the_table_is_refreshed_when_it_is_due_and_always_before_evaluation(build):
    model, (train, *_) = build(refresh_steps=2)
    batch, item = batch_of(train), model.texts.levels["item"]
    model.train()
    model.begin_batch(0, 0)
    first = item.vectors.rows.clone()
    step(model, batch)
    model.begin_batch(0, 1)
    assert torch.equal(item.vectors.rows, first)
    step(model, batch)
    model.begin_batch(0, 2)
    second = item.vectors.rows.clone()
    assert not torch.equal(second, first)
    step(model, batch)
    found = scores(model, batch)
    assert not torch.equal(item.vectors.rows, second)
    fresh, _ = build(refresh_steps=2)
    state = {name: w for name, w in model.state_dict().items() if not name.endswith((".rows", "is_current"))}
    fresh.load_state_dict(state, strict=False)
    assert torch.equal(scores(fresh, batch), found)
    step(model, batch)
    assert not model.texts.is_current
    assert not torch.equal(scores(model, batch), found)
    assert model.texts.is_current


def test_without_the_setting_the_table_is_refreshed_at_the_start_of_an_epoch(build):
    model, (train, *_) = build()
    rows = model.texts.levels["item"].vectors.rows.clone()
    step(model, batch_of(train))
    for batch in (1, 5, 100):
        model.begin_batch(0, batch)
    assert torch.equal(model.texts.levels["item"].vectors.rows, rows)
    model.begin_batch(1, 0)
    assert not torch.equal(model.texts.levels["item"].vectors.rows, rows)
    assert isinstance(model, FollowsTraining)


def test_frozen_vectors_are_computed_once(build):
    model, (train, *_) = build(train_texts="none")
    calls = []
    model.texts.student.refresh = lambda level: calls.append(level)
    for epoch in range(3):
        model.begin_batch(epoch, 0)
        step(model, batch_of(train))
        scores(model, batch_of(train))
    assert calls == []


def test_masks_follow_seed_epoch_and_batch_and_are_drawn_in_training_alone(build):
    model, (train, *_) = build(mask_items="uniform", mask_rate=0.4)
    assert model.mask_rates.unique().tolist() == pytest.approx([0.4])

    def masks(epoch, number, size=256):
        model.train()
        model._position = (epoch, number)
        batch = batch_of(train)
        order = torch.cat([part["row"] for part, _ in _numbered(model, batch, size)])
        whole = torch.cat([part["masked:history"] for part, _ in _numbered(model, batch, size)])
        return whole[order.argsort()]

    def _numbered(model, batch, size):
        batch.update(Interaction({"row": torch.arange(len(batch))}))
        return model.split(batch, size)

    assert torch.equal(masks(0, 3), masks(0, 3))
    assert torch.equal(masks(0, 3), masks(0, 3, size=10))
    assert not torch.equal(masks(0, 3), masks(0, 4))
    assert not torch.equal(masks(0, 3), masks(1, 3))
    before = scores(model, batch_of(train))
    masked = batch_of(train)
    masked.update(Interaction({"masked:history": torch.ones(64, 4, dtype=torch.bool)}))
    assert torch.equal(scores(model, masked), before)


def test_rates_of_masking_are_those_of_the_histories_of_training_rows(build):
    model, (train, valid, _) = build()
    items = model.mask_rates.new_zeros(train.num("item_id"))
    batch = train[torch.arange(len(train))]
    for row in range(len(train)):
        for item in batch["item_id_list"][row, : batch["item_length"][row]].tolist():
            items[item] += 1
    assert torch.equal(train.history_log.slot_counts(train.inter_feat, len(items)), items.long())
    before = model.mask_rates.clone()
    valid.inter_feat["item_id"][:] = 1
    model.begin(train)
    assert torch.equal(model.mask_rates, before)


def test_clicks_with_label_0_are_no_near_items(build):
    model, (train, *_) = build(history="all", near_items=4)
    batch = batch_of(train)
    before = scores(model, batch)
    disliked = batch["label_list"] == 0
    disliked &= torch.arange(4) < batch["item_length"][:, None]
    assert disliked.any()
    batch["item_id_list"][disliked] = 5
    assert torch.equal(scores(model, batch), before)


def test_unique_histories_count_an_item_once(build):
    model, (train, *_) = build(unique_history=True, near_items=4)
    other, _ = build(near_items=4)
    batch = batch_of(train, 16)
    batch["item_id_list"][:] = torch.tensor([3, 3, 3, 4])
    batch["item_length"][:] = 4
    with torch.no_grad():
        for each in (model, other):
            each.eval().texts.update()
        items = model.texts.levels["item"].adapted.rows
        torch.testing.assert_close(model.vectors(batch)[:, 2], (items[3] + items[4]).expand(16, -1))
        torch.testing.assert_close(other.vectors(batch)[:, 2], (3 * items[3] + items[4]).expand(16, -1))


def test_a_text_has_the_vector_of_its_item_and_new_texts_have_one_without_training(build):
    from recbole_clickprompt.text.descriptions import descriptions, profile_descriptions

    model, (train, *_) = build()
    step(model, batch_of(train))
    batch = batch_of(train)
    expected = scores(model, batch)
    items, users = descriptions(train, "item"), profile_descriptions(train)
    assert encoded_levels(model) == ["user", "item"]
    assert isinstance(model, EncodesTexts)
    for level, texts in (("item", items), ("user", users)):
        found = model.encode_texts(level, texts)
        assert not found.requires_grad
        torch.testing.assert_close(found, model.texts.levels[level].adapted.rows, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(model.encode_texts(level, texts[7:9]), found[7:9], atol=1e-6, rtol=1e-5)
    assert model.encode_texts("item", []).shape == (0, 8)
    batch.update(
        Interaction(
            {
                "item_vector": model.encode_texts("item", [items[i] for i in batch["item_id"].tolist()]),
                "user_vector": model.encode_texts("user", [users[i] for i in batch["user_profile"].tolist()]),
            }
        )
    )
    torch.testing.assert_close(scores(model, batch), expected, atol=1e-6, rtol=0)
    unseen = batch_of(train, 16)
    unseen["item_id"][:] = 0
    results = []
    for text in ("title is Sunny Golden. genre is Comedy.", "title is Grim Haunted. genre is Thriller."):
        unseen.update(Interaction({"item_vector": model.encode_texts("item", [text]).expand(16, -1)}))
        results.append(scores(model, unseen))
    assert not torch.allclose(*results)


def test_the_hash_of_vectors_follows_the_weights_that_they_depend_on(build):
    model, (train, *_) = build()
    first = model.vectors_hash()
    assert first == model.vectors_hash()
    assert build(student_pooling="last")[0].vectors_hash() != first
    with torch.no_grad():
        model.backbone.model.token_embedding_table.embedding.weight.add_(1)
    assert model.vectors_hash() == first
    step(model, batch_of(train))
    assert model.vectors_hash() != first


def test_a_few_rows_are_scored_without_the_vectors_of_all_texts(build, msd_config, make_data):
    config = msd_config()
    train = make_data(config)[0]._dataset
    model = get_model("MSD")(config, train).eval()
    with torch.no_grad():
        few = model.predict(batch_of(train, 3))
        assert not len(model.texts.levels["item"].adapted.rows)
        torch.testing.assert_close(model.predict(batch_of(train))[:3], few, atol=1e-6, rtol=0)
    assert model.texts.is_current


def test_served_without_texts_it_has_the_same_scores_or_says_why_not(build, msd_config):
    model, (train, *_) = build()
    step(model, batch_of(train))
    unsaved = copy.deepcopy(model.state_dict())
    batch = batch_of(train)
    known = {name: column for name, column in batch.interaction.items() if name != "user_profile"}
    last = Interaction({**batch.interaction, "user_profile": batch["user_id"]})
    expected = scores(model, last)
    schema = SchemaDataset(observe(train, None))
    served = get_model("MSD")(msd_config(), schema)
    served.load_state_dict(model.state_dict())
    assert torch.equal(scores(served, Interaction(known)), expected)
    served.load_state_dict(unsaved)
    with pytest.raises(WeightsError, match="are not those of the weights, and there are no texts"):
        scores(served, Interaction(known))
    small = dict(model.state_dict())
    small["texts.levels.item.adapted.rows"] = small["texts.levels.item.adapted.rows"][:3]
    with pytest.raises(RuntimeError, match="size mismatch for texts.levels.item.adapted.rows"):
        served.load_state_dict(small)


def test_states_of_frozen_layers_are_kept_in_a_file_for_each_weights_and_texts(build, tmp_path):
    def files():
        return {path.name: path.stat().st_mtime_ns for path in Path("saved").glob("student-states-*")}

    build()
    first = files()
    assert len(first) == 2
    build(fusion="mean")
    assert files() == first
    build(shuffle_text=True)
    second = files()
    assert len(second) == 4
    build(lora_layers=2)
    assert len(files()) == 6
    build(lora_layers=None)
    assert len(files()) == 6


def test_random_vectors_have_the_students_norms_and_depend_on_the_text_alone(build):
    model, _ = build()
    control, _ = build(vectors="random")
    ours, theirs = (m.texts.levels["item"].vectors.rows for m in (model, control))
    torch.testing.assert_close(theirs.norm(dim=1), ours.norm(dim=1))
    cosine = torch.nn.functional.cosine_similarity(ours, theirs)
    assert cosine.abs().mean() < 0.3
    assert not any(p.requires_grad for p in control.pretrained_parameters())
    again, _ = build(vectors="random", seed=7)
    assert torch.equal(again.texts.levels["item"].vectors.rows, theirs)
    with torch.no_grad():
        control.eval().texts.update()
        text = ["title is Sunny."]
        one, two = control.encode_texts("item", text * 2)[0], control.encode_texts("item", text)[0]
        torch.testing.assert_close(one, two)


def test_the_scale_of_vectors_is_that_of_texts_of_training_rows(build):
    model, (train, *_) = build(cold_start="item_id")
    level = model.texts.levels["item"]
    seen = level.vectors.rows[level.index[train.inter_feat["item_id"].unique()].unique()]
    torch.testing.assert_close(level.adaptor.mean, seen.mean(0))
    other, _ = build(standardize_vectors=False)
    assert not other.texts.levels["item"].adaptor.mean.any()


def test_clicks_at_or_after_its_block_change_neither_the_text_nor_the_score_of_a_row(
    msd_config, make_data, tmp_path
):
    from recbole_clickprompt.text.descriptions import profile_descriptions

    source = Path(__file__).parents[3] / "dataset_atomic/tiny"
    shutil.copytree(source, tmp_path / "tiny")
    header, *lines = (source / "tiny.inter").read_text().splitlines()
    rows = sorted((line.split("\t") for line in lines), key=lambda row: float(row[3]))

    def shown(rows):
        (tmp_path / "tiny/tiny.inter").write_text("\n".join([header, *map("\t".join, rows), ""]))
        config = msd_config(data_path=str(tmp_path), standardize_vectors=False, mask_items="none", user_blocks=3)
        train = make_data(config)[0]._dataset
        torch.manual_seed(3)
        model = get_model("MSD")(config, train)
        batch = train[torch.arange(len(train))]
        texts = profile_descriptions(train)
        found = zip(
            [texts[number] for number in batch["user_profile"].tolist()], scores(model, batch), strict=True
        )
        return dict(zip(train.times.tolist(), found, strict=False)), train

    before, train = shown(rows)
    number = train.user_profiles.blocks[train[torch.arange(len(train))]["user_profile"]]
    start = float(train.times[number == 2].min())
    # The same users, items and order, so that ids and weights are the same
    later = [[*row[:2], str(6 - int(row[2])) if float(row[3]) >= start else row[2], *row[3:]] for row in rows]
    after, _ = shown(later)
    earlier = [time for time in before if time < start]
    assert len(earlier) > 100
    for time in earlier:
        assert after[time][0] == before[time][0]
        torch.testing.assert_close(after[time][1], before[time][1], atol=1e-6, rtol=0)
    assert all(after[time][0] == before[time][0] for time in before if time >= start)
    assert any(not torch.allclose(after[time][1], before[time][1]) for time in before if time > start)
