"""FLIP: losses in parts equal those of one pass, each reads what it should; three forms start from one stage."""

import math
from pathlib import Path

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.quick_start import run_recbole
from recbole.utils import get_model
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.ctrl.contrast import contrast
from recbole_clickprompt.methods.flip.builders import build_pretraining, evaluate_pretraining
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.export import export
from recbole_clickprompt.trainer.optimizer import build_optimizer
from tests.conftest import SHORT

DCN = {"backbone": "DCNV2", "contrast_width": 16}
FIXED = {"plm_dropout": 0.0, "dropout_prob": 0.0, "pretrain_head_dropout": 0.0}
WEIGHTS = ("contrast_weight", "masked_field_weight", "mlm_weight")


def alone(weight):
    return {name: 1.0 if name == weight else 0.0 for name in WEIGHTS}


@pytest.fixture
def make_pretraining(make_config, make_data):
    def make(**settings):
        config = make_config("FLIP", **{**DCN, **settings})
        dataset = make_data(config)[0]._dataset
        torch.manual_seed(5)
        return build_pretraining(config, dataset).train(), dataset

    return make


@pytest.fixture
def make_model(make_config, make_data):
    def make(**settings):
        config = make_config("FLIP", **{**DCN, "train_stage": "finetune", **settings})
        dataset = make_data(config)[0]._dataset
        torch.manual_seed(5)
        return get_model("FLIP")(config, dataset), dataset

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
    "settings",
    [
        {"contrast_weight": 0.5, "masked_field_weight": 2.0},
        {"contrast_weight": 0.0},
        {"mlm_candidates": "data", "mask_equal": True},
        alone("contrast_weight"),
        alone("mlm_weight"),
    ],
)
def test_parts_have_loss_and_gradients_of_one_pass(make_pretraining, settings):
    model, dataset = make_pretraining(**FIXED, **settings)
    batch = dataset[torch.arange(64)]
    whole, expected = gradients(model, batch, 64)
    for size in (7, 32):
        loss, found = gradients(model, batch, size)
        assert loss == pytest.approx(whole, abs=1e-5)
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-5, msg=name)
    assert "backbone" in {name.partition(".")[0] for name in expected}
    assert not [name for name in expected if "predict_layer" in name]  # the last layer has no part in it


def test_the_loss_is_the_weighted_sum_of_the_three(make_pretraining):
    singles = {}
    for weight in WEIGHTS:
        model, dataset = make_pretraining(**FIXED, **alone(weight))
        assert list(model.metrics) == [weight.removesuffix("_weight")]
        singles[weight] = model, dataset
    weights = {"contrast_weight": 0.5, "masked_field_weight": 2.0, "mlm_weight": 3.0}
    whole, dataset = make_pretraining(**FIXED, **weights)
    batch = whole.masked(dataset[torch.arange(48)])
    expected = 0.0
    for weight, (model, _) in singles.items():
        state = {name: whole.state_dict()[name] for name in model.state_dict()}
        model.load_state_dict(state)
        (part, _), *rest = model.split(batch, 48)
        assert not rest
        # the masks of the whole model, and not those that this one draws
        expected += weights[weight] * model.calculate_loss(part._replace(interaction=batch)).item()
    (part, _), *_ = whole.split(batch, 48)
    assert whole.calculate_loss(part._replace(interaction=batch)).item() == pytest.approx(expected, abs=1e-5)


def test_without_masks_it_is_the_contrast_alone(make_pretraining):
    model, dataset = make_pretraining(**FIXED, **alone("contrast_weight"), contrast_temperature=0.3)
    assert model.field_predictor is None
    assert model.token_predictor is None
    batch = dataset[torch.arange(32)]
    loss, _ = gradients(model, batch, 32)
    q, _ = model.backbone(batch)
    text, lengths = model.text(batch)
    ids, texts = model.projections[0](q), model.projections[1](model.plm(text, lengths)[:, 0])
    by_hand = contrast(ids.unsqueeze(1), texts.unsqueeze(1), temperature=0.3).loss
    similarity = ids @ texts.T / 0.3
    plain = (F.cross_entropy(similarity, torch.arange(32)) + F.cross_entropy(similarity.T, torch.arange(32))) / 2
    assert loss == pytest.approx(by_hand.item(), abs=1e-5)
    assert loss == pytest.approx(plain.item(), abs=1e-5)


def test_without_the_others_it_is_masked_language_modeling_alone(make_pretraining):
    model, dataset = make_pretraining(**FIXED, **alone("mlm_weight"))
    assert model.projections is None
    assert model.field_predictor is None
    batch = model.masked(dataset[torch.arange(32)])
    (part, _), *_ = model.split(batch, 32)
    loss = model.calculate_loss(part._replace(interaction=batch))
    lengths, labels = model.text.lengths(batch), batch["masked:labels"]
    states = model.plm(batch["masked:text"], lengths)
    q, _ = model.backbone(batch)
    rows, slots = torch.nonzero(labels >= 0, as_tuple=True)
    read = torch.cat([states[rows, batch["masked:positions"][rows, slots]], q[rows]], dim=1)
    by_hand = F.cross_entropy(model.token_predictor.head(read), labels[rows, slots])
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_tokens_are_predicted_from_the_intact_ids_too(make_pretraining):
    model, dataset = make_pretraining(**FIXED, **alone("mlm_weight"))
    batch = model.masked(dataset[torch.arange(32)])
    (part, _), *_ = model.split(batch, 32)
    others = Interaction({**batch.interaction, "device": batch["device"].roll(1)})
    first, second = (model.calculate_loss(part._replace(interaction=rows)).item() for rows in (batch, others))
    assert abs(first - second) > 1e-4


def test_whole_values_are_masked(make_pretraining):
    model, dataset = make_pretraining(**alone("mlm_weight"))
    batch = model.masked(dataset[torch.arange(32)])
    fields = model.text.fields(batch)
    masked = torch.zeros_like(fields, dtype=torch.bool)
    rows, slots = torch.nonzero(batch["masked:labels"] >= 0, as_tuple=True)
    masked[rows, batch["masked:positions"][rows, slots]] = True
    for field in range(1, int(fields.max()) + 1):
        tokens = fields == field
        share = (masked & tokens).sum(1) / tokens.sum(1).clamp(min=1)
        assert set(share.tolist()) <= {0.0, 1.0}
    assert not masked[fields == 0].any()


@pytest.mark.parametrize(
    "settings", [{}, {"backbone": "DIN", "history_length": 3}, {"backbone": "FiGNN"}, {"mask_ratio": 0.5}]
)
def test_masked_fields_are_recovered_without_their_ids(make_pretraining, settings):
    model, dataset = make_pretraining(**FIXED, **settings)
    model.eval()
    masker = model.id_masker
    assert {"user_id", "item_id", "device", "gender", "title"} <= set(masker.fields)
    assert "genre" not in masker.fields  # several values per row
    torch.manual_seed(3)
    batch = model.masked(dataset[torch.arange(40)])
    masked, values = batch["masked:fields"], batch["masked:negatives"]
    with torch.no_grad():
        encoded = model.encode(batch)  # texts stay visible, those of the masked ids included
        expected = model.field_scores(batch, encoded, values)
        columns = dict(batch.interaction)
        for number, name in enumerate(masker.fields):
            other = (columns[name] + 1) % dataset.num(name)
            columns[name] = torch.where((masked == number).any(1), other, columns[name])
        assert torch.equal(model.field_scores(Interaction(columns), encoded, values), expected)
        for number, name in enumerate(masker.fields):  # all others count
            columns = dict(batch.interaction)
            columns[name] = (columns[name] + 1) % dataset.num(name)
            changed = (model.field_scores(Interaction(columns), encoded, values) != expected).flatten(1).any(1)
            assert not changed[(masked == number).any(1)].any()
            assert changed[~(masked == number).any(1)].any(), name


def test_it_learns_all_three(make_pretraining):
    model, dataset = make_pretraining(
        **FIXED, plm_num_layers=1, contrast_temperature=0.2, mask_ratio=0.3, mlm_candidates="data"
    )
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=0.02, plm_learning_rate=0.01, weight_decay=0.0
    )
    batch, seen = dataset[torch.arange(32)], []
    for _ in range(40):
        gradients(model, batch, 16)
        optimizer.step()
        seen.append({name: m.compute_and_reset(torch.device("cpu")) for name, m in model.metrics.items()})
    assert seen[0].keys() == {"contrast", "masked_field", "mlm"}
    for name, (loss, accuracy) in seen[-1].items():
        assert loss < 0.5 * seen[0][name][0], name
        assert accuracy > seen[0][name][1], name
    assert seen[0]["contrast"][0] > math.log(32) - 0.5


def test_labels_are_not_read(make_pretraining):
    model, dataset = make_pretraining(**FIXED)
    batch, flipped = dataset[torch.arange(32)], dataset[torch.arange(32)]
    flipped.interaction["label"] = 1 - batch["label"]
    assert gradients(model, batch, 16)[0] == gradients(model, flipped, 16)[0]


def test_both_passes_drop_out_the_same(make_pretraining):
    model, dataset = make_pretraining(plm_dropout=0.3, dropout_prob=0.3)
    batch, seen, encode = dataset[torch.arange(64)], [], model.encode
    model.encode = lambda rows: (seen.append(found := encode(rows)), found)[1]
    for part, _ in model.split(batch, 16):
        model.calculate_loss(part)
    assert len(seen) == 8
    for first, second in zip(seen[:4], seen[4:], strict=True):
        assert torch.equal(first.representation, second.representation)
        assert torch.equal(first.states, second.states)


def test_its_evaluation_is_deterministic_and_without_dropout(make_config, make_data, make_pretraining):
    data = make_data(make_config("FLIP", **DCN))
    results = []
    model, _ = make_pretraining(plm_dropout=0.5)
    for micro_batch_size in (8, 32, 32):
        config = make_config("FLIP", **DCN, micro_batch_size=micro_batch_size, pretrain_batch_size=50)
        results.append(evaluate_pretraining(config, model.train(), data[1]))
    assert results[1] == results[2]
    assert results[0] == pytest.approx(results[1], abs=1e-5)
    names = ("contrast", "masked_field", "mlm")
    assert results[0].keys() == {f"{name}_{kind}" for name in names for kind in ("loss", "accuracy")}


@pytest.mark.parametrize("towers", ["both", "ids", "text"])
def test_each_form_is_scored_by_its_towers(make_model, towers):
    model, dataset = make_model(**FIXED, finetune_towers=towers)
    batch = dataset[torch.arange(50)]
    columns = model.eval().predict_logits(batch)
    names = {"both": ["logit_ctr", "logit_plm"], "ids": ["logit_ctr"], "text": ["logit_plm"]}[towers]
    assert list(columns) == names
    assert torch.equal(model.score(columns), model.predict(batch))
    torch.testing.assert_close(torch.sigmoid(model(batch)), model.predict(batch))
    terms = [F.binary_cross_entropy_with_logits(columns[name], batch["label"].float()) for name in names]
    if towers == "both":
        assert model.fusion_weight.item() == 0  # the language model's score at first
        torch.testing.assert_close(model.predict(batch), torch.sigmoid(columns["logit_plm"]))
        model.fusion_weight.data.fill_(0.3)
        mixed = 0.3 * columns["logit_ctr"] + 0.7 * columns["logit_plm"]
        torch.testing.assert_close(model.predict(batch), torch.sigmoid(mixed))
        terms.append(F.binary_cross_entropy_with_logits(mixed, batch["label"].float()))
        assert model.prediction_constants() == {"fusion_weight": pytest.approx(0.3)}
    torch.testing.assert_close(model.calculate_loss(batch), sum(terms))
    whole = model.calculate_loss(batch).item()
    parts = sum(weight * model.calculate_loss(part).item() for part, weight in model.split(batch, 7))
    assert parts == pytest.approx(whole, abs=1e-5)


def test_scores_do_not_depend_on_the_rows_of_a_batch(make_model):
    model, dataset = make_model(plm_num_layers=1)
    batch = dataset[torch.arange(30)]
    assert len(set(model.text.lengths(batch).tolist())) > 1  # rows are padded
    together = model.eval().predict(batch)
    one_by_one = torch.cat([model.predict(batch[torch.tensor([row])]) for row in range(30)])
    torch.testing.assert_close(one_by_one, together, atol=1e-6, rtol=1e-5)


def test_the_form_of_ids_alone_costs_what_the_backbone_costs(make_config, make_data, make_model):
    ours, dataset = make_model(finetune_towers="ids")
    plain = get_model("ClickPromptNoPLM")(make_config("ClickPromptNoPLM", train_stage="finetune"), dataset)
    assert [(n, type(m)) for n, m in ours.named_modules()][1:] == [(n, type(m)) for n, m in plain.named_modules()][
        1:
    ]
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in plain.named_parameters()}
    plain.load_state_dict(ours.state_dict())
    batch = dataset[torch.arange(20)]
    assert torch.equal(ours.eval().predict(batch), plain.eval().predict(batch))


def test_three_forms_start_from_one_stage_and_are_served(small):
    settings = {**small, **SHORT, **DCN, "epochs": 1, "plm_num_layers": 1}
    for towers in ("both", "ids", "text"):
        given = {**settings, "finetune_towers": towers, "checkpoint_dir": "saved"}
        run_recbole(model="FLIP", dataset="tiny", config_dict=given)
    stages = list(Path("saved").glob("tiny-DCNV2-flip-*.safetensors"))
    assert len(stages) == 1
    expected = {
        "FLIP (DCNV2 and PLM)": {"backbone", "plm", "head", "fusion_weight"},
        "FLIP (DCNV2 alone)": {"backbone"},
        "FLIP (PLM alone, aligned with DCNV2)": {"plm", "head"},
    }
    for run in Path("saved").glob("FLIP-*.pth"):
        folder = open_run(run)
        modules = expected.pop(folder.info["title"])
        assert {name.partition(".")[0] for name in torch.load(run)["state_dict"]} == modules
        history = folder.history()
        assert list(history["stage"].unique()) == ["pretrain", "finetune"]
        for column in ("contrast_loss", "masked_field_accuracy", "mlm_loss"):
            assert history[column].notna().any()
        table = folder.predictions("test")
        assert ("logit_ctr" in table) == ("backbone" in modules)
        assert ("logit_plm" in table) == ("plm" in modules)
        rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"})
        served = load_model(run)
        assert served.predict(rows.assign(device="phone")).shape == (len(rows),)
        assert (served.preprocessing.text is None) == ("plm" not in modules)
    assert not expected


@pytest.mark.slow
def test_an_export_scores_as_the_model_does(small):
    settings = {**small, **SHORT, **DCN, "epochs": 1, "plm_num_layers": 1, "train_stage": "finetune"}
    run_recbole(model="FLIP", dataset="tiny", config_dict=settings)
    (run,) = Path("saved").glob("FLIP-*.pth")
    assert export(run, Path("exported"), int8=False, rows=20).difference <= 1e-5


def test_the_stage_can_be_run_alone_and_with_one_row_too_many(small):
    settings = {**small, **DCN, "train_stage": "pretrain", "pretrain_rows": 33, "pretrain_batch_size": 16}
    result = run_recbole(model="FLIP", dataset="tiny", config_dict=settings)
    assert result["best_valid_score"] == pytest.approx(result["best_valid_result"]["contrast_accuracy"])
    with pytest.raises(SettingError, match="contrast needs two rows or more, and pretrain_rows leaves 1"):
        run_recbole(model="FLIP", dataset="tiny", config_dict={**settings, "pretrain_rows": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict.fromkeys(WEIGHTS, 0.0), "are all 0, so pretraining has no loss"),
        ({"pretrain_batch_size": 1}, "pretrain_batch_size must be an integer, 2 or more, got 1"),
        ({"finetune_towers": "ids", "fusion_weight": 0.5}, "fusion_weight has no effect: finetune_towers: ids"),
        (
            {"finetune_towers": "text", "load_pretrained": "embeddings"},
            "load_pretrained: embeddings has no effect",
        ),
        ({"finetune_towers": "plm"}, "finetune_towers must be one of both, ids, text, got 'plm'"),
        (
            {"finetune_towers": "text", "train_stage": "finetune", "history_length": 3},
            "history_length has no effect: finetune_towers: text has no CTR model",
        ),
        ({"plm_interaction_layers": 1}, "plm_interaction_layers needs texts that are masked once"),
        ({"history_length": 3}, "DCNV2 does not read histories by itself"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("FLIP", **{**DCN, **settings})


def test_a_batch_of_one_row_is_fine_without_contrast(make_config):
    settings = {"pretrain_batch_size": 1, "contrast_weight": 0.0}
    config = make_config("FLIP", **DCN, **settings)
    (stage,) = find_method("FLIP").stages
    assert stage.selection_metric(config, bigger=True) == "masked_field_accuracy"
    assert stage.selection_metric(config, bigger=False) == "masked_field_loss"
