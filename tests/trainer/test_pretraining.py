"""The PA-MLM stage: what it learns, when it is reused, what it writes."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from recbole.utils import get_model, get_trainer
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM

from recbole_clickprompt.errors import TrainingError, WeightsError
from recbole_clickprompt.methods.clickprompt.builders import build_pretraining
from recbole_clickprompt.methods.clickprompt.finetuning import begin_finetuning
from recbole_clickprompt.methods.clickprompt.mlm_evaluation import evaluate_pamlm
from recbole_clickprompt.methods.clickprompt.pretraining import Pretraining, pretraining_rows
from recbole_clickprompt.methods.clickprompt.pretraining_evaluation import evaluate_pretraining
from recbole_clickprompt.trainer.fingerprint import checkpoint_path, stage_inputs
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components, read_inputs
from tests.stages import load_pretrained, pretrain


def run_pretraining(config, data, losses=None):
    def report(epoch, figures):
        if losses is not None:
            losses.append(figures[f"{config['pretrain_objectives'][0]}_loss"])

    return pretrain(config, *data[:2], show_progress=False, report=report)


def path_of(config, data):
    return checkpoint_path(
        config, Pretraining().label(config), pretraining_inputs(config, pretraining_rows(config, *data[:2]))
    )


def pretraining_inputs(config, dataset):
    return stage_inputs(config, dataset, reads_text=Pretraining().reads_text(config))


@pytest.fixture(scope="module")
def make_config(make_config):
    """As everywhere, of fewer rows."""
    return lambda model="ClickPrompt", **settings: make_config(model, **{"pretrain_rows": 320, **settings})


@pytest.fixture(scope="module")
def base(make_config, make_data):
    config = make_config()
    return config, make_data(config)


def test_pretraining_learns_and_its_checkpoint_gives_the_model_back(make_config, make_data):
    rates = {"pretrain_learning_rate": 5e-3, "pretrain_plm_learning_rate": 5e-3}
    config = make_config(pretrain_epochs=6, pretrain_rows=None, **rates)
    data = make_data(config)
    losses = []
    path = run_pretraining(config, data, losses)
    assert losses[-1] < 0.8 * losses[0]
    model = load_pretrained(config, data[0]._dataset, path)
    result = evaluate_pamlm(config, model, data[1])
    assert result["mlm_loss"] < losses[1]
    assert result == evaluate_pamlm(config, model, data[1])  # masked from the seed
    assert 0 < result["mlm_accuracy"] < 1


def test_every_family_learns_and_is_pretrained_components(make_config, make_data, plm_folder):
    config = make_config(plm=str(plm_folder), plm_num_layers=2, pretrain_epochs=2, pretrain_learning_rate=5e-3,
                         pretrain_plm_learning_rate=5e-3)  # fmt: skip
    data = make_data(config)
    losses = []
    path = run_pretraining(config, data, losses)
    assert losses[-1] < losses[0]
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    load_components(model, path, model.pretrained_components)
    rows = data[0]._dataset[torch.arange(8)]
    assert model.predict(rows).std() > 0
    load_pretrained(config, data[0]._dataset, path)


def test_an_equal_pretraining_is_reused_whichever_model_asks(make_config, make_data, base):
    path = run_pretraining(*base)
    before = path.stat().st_mtime_ns
    other = make_config("ClickPromptNoPLM", epochs=9, learning_rate=0.5, weight_decay=0.1, train_batch_size=7,
                        pretrain_epochs=1)  # fmt: skip
    assert run_pretraining(other, make_data(other)) == path
    assert path.stat().st_mtime_ns == before


def test_both_models_would_make_the_same_checkpoint(make_config, make_data, base, tmp_path):
    first = load_file(run_pretraining(*base))
    other = make_config("ClickPromptNoPLM", checkpoint_dir=str(tmp_path / "elsewhere"))
    second = load_file(run_pretraining(other, make_data(other)))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 7},
        {"num_prompts": 3},
        {"backbone": "DNN"},
        {"embedding_size": 4},
        {"dropout_prob": 0.1},
        {"plm_num_layers": 2},
        {"plm_dropout": 0.0},
        {"plm_lora": {"r": 2}},
        {"prompt_strategy": "input"},
        {"prompt_projection": "shared_kv"},
        {"pretrain_data": "train_valid"},
        {"pretrain_objectives": ["mlm", "replaced_item"]},
        {"replaced_item_weight": 2.0},
        {"pretrain_rows": 100},
        {"pretrain_shuffle_items": True},
        {"init_from_text": ["item_id"]},
        {"mask_ratio": 0.2},
        {"pretrain_epochs": 2},
        {"pretrain_batch_size": 32},
        {"pretrain_learning_rate": 2e-3},
        {"pretrain_plm_learning_rate": 0.0},
        {"pretrain_weight_decay": 0.1},
        {"pretrain_warmup_ratio": 0.5},
        {"pretrain_lr_scheduler": "linear"},
        {"enable_amp": True},
        {"max_text_length": 32},
        {"text_fields": {"user_id": "user", "item_id": "film"}},
        {"value_labels": {"gender": {"F": "woman"}}},
        {"whole_text_fields": ["title", "genre"]},
        {"val_interval": {"rating": "[1,1];[4,5]"}},
        {"threshold": {"rating": 5}},
    ],
    ids=lambda s: next(iter(s)),
)
def test_a_change_of_what_determines_it_never_reuses(make_config, make_data, base, settings):
    config = make_config(**settings)
    assert path_of(config, make_data(config)) != path_of(*base)


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 9},
        {"train_rows": 100},
        {"load_pretrained": "embeddings"},
        {"learning_rate": 0.5},
        {"plm_learning_rate": 0.0},
        {"weight_decay": 0.5},
        {"train_batch_size": 7},
        {"lr_scheduler": "linear"},
        {"stopping_step": 1},
        {"finetune_prompts": False},
        {"plm_pooling": "avg"},
        {"fusion_weight": 0.9},
        {"fusion_learnable": False},
        {"tower_loss_weight": 1.0},
        {"show_progress": True},
        {"checkpoint_minutes": 1},
        {"resume": "auto"},
        {"train_stage": "pretrain"},
    ],
    ids=lambda s: next(iter(s)),
)
def test_a_change_of_finetuning_reuses(make_config, make_data, base, settings):
    config = make_config(**settings)
    assert path_of(config, make_data(config)) == path_of(*base)


@pytest.mark.parametrize(
    "settings",
    [
        {"shuffle_text": True},
        {"num_prompts": 3},
        {"plm_num_layers": 1},
        {"mask_ratio": 0.2},
        {"max_text_length": 32},
    ],
    ids=lambda s: next(iter(s)),
)
def test_what_reads_no_text_is_the_same_whatever_is_to_read_it_later(make_config, make_data, settings):
    def path(**more):
        config = make_config(pretrain_objectives=["replaced_item"], **more)
        return path_of(config, make_data(config))

    assert path(**settings) == path()
    begun = {"init_from_text": ["item_id"]}
    assert path(**begun, **settings) != path(**begun)


def test_other_plm_weights_never_reuse_and_another_place_does(make_config, make_data, base, tmp_path, tiny_bert):
    moved = shutil.copytree(tiny_bert, tmp_path / "moved")
    config = make_config(plm=str(moved))
    assert path_of(config, make_data(config)) == path_of(*base)
    model = BertForMaskedLM.from_pretrained(moved)
    model.bert.embeddings.word_embeddings.weight.data[7, 3] += 1e-3
    model.save_pretrained(moved)
    assert path_of(config, make_data(config)) != path_of(*base)


def test_one_changed_row_never_reuses(make_config, make_data):
    config = make_config(pretrain_rows=None)
    data = make_data(config)
    before = path_of(config, data)
    data[0]._dataset.inter_feat["item_id"][3] = 1 + data[0]._dataset.inter_feat["item_id"][3] % 50
    assert path_of(config, data) != before


def test_the_random_state_does_not_tell_whether_pretraining_ran(base):
    torch.manual_seed(3)
    state, order = torch.get_rng_state(), base[1][0].generator.get_state()
    for _ in range(2):
        run_pretraining(*base)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(base[1][0].generator.get_state(), order)


def test_finetuning_begins_from_the_pretrained_parts(base):
    config, data = base
    path = run_pretraining(config, data)
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    load_components(model, path, model.pretrained_components)
    state, written = model.state_dict(), load_file(path)
    for part in ("backbone", "prompt", "plm"):
        names = [name for name in written if name.startswith(f"{part}.")]
        assert names
        assert all(torch.equal(state[name], written[name]) for name in names)


def test_checkpoints_say_what_made_them(base):
    path = run_pretraining(*base)
    inputs = read_inputs(path)
    assert inputs["settings"]["num_prompts"] == 2
    assert inputs == pretraining_inputs(base[0], pretraining_rows(base[0], *base[1][:2]))
    assert json.loads(json.dumps(inputs)) == inputs


def test_a_failing_epoch_leaves_no_checkpoint(make_config, make_data, monkeypatch):
    config = make_config(pretrain_learning_rate=1e30, pretrain_plm_learning_rate=1e30, pretrain_warmup_ratio=0.0)
    with pytest.raises(TrainingError, match="pretrain: the training loss is nan; lower the learning rate"):
        run_pretraining(config, make_data(config))
    assert not list(Path().rglob("*.safetensors*"))


def spoil(path, how):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "foreign":
        save_file({"a": torch.ones(1)}, path)
    elif how == "text":
        path.write_text("not weights")
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "is damaged or not a safetensors file"),
        ("text", "is a text file; expected the result of a stage"),
        ("foreign", "is a safetensors file of another program"),
        ("missing", "no such pretraining checkpoint"),
    ],
)
def test_a_bad_checkpoint_is_refused_by_name(base, how, message, tmp_path):
    path = run_pretraining(*base)
    spoil(path, how)
    model = get_model("ClickPromptNoPLM")(base[0], base[1][0]._dataset)
    with pytest.raises(
        WeightsError, match=f"{re.escape(path.name)}.* {message}|{re.escape(path.name)}.*{message}"
    ):
        load_components(model, path, model.pretrained_components)


def test_a_checkpoint_of_another_shape_is_refused(base, make_config, make_data):
    path = run_pretraining(*base)
    config = make_config("ClickPromptNoPLM", embedding_size=4)
    model = get_model("ClickPromptNoPLM")(config, make_data(config)[0]._dataset)
    with pytest.raises(WeightsError, match="its backbone does not fit this run"):
        load_components(model, path, model.pretrained_components)


def test_the_pretrain_stage_alone_reports_mlm_figures(make_config, make_data):
    config = make_config(train_stage="pretrain")
    data = make_data(config)
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model)
    score, result = trainer.fit(data[0], data[1])
    assert score == result["mlm_accuracy"]
    assert {"mlm_loss", "mlm_accuracy"} < trainer.evaluate(data[2]).keys()


@pytest.mark.parametrize("objective", ["mlm", "replaced_item"])
def test_embedding_scale_is_that_of_the_tables(make_config, make_data, objective):
    config = make_config(pretrain_objectives=[objective])
    data = make_data(config)
    model = build_pretraining(config, data[0]._dataset)
    tables = [weight for name, weight in model.backbone.named_parameters() if "embedding" in name]
    for table, value in zip(tables, [3.0, *[1.0] * len(tables)], strict=False):
        torch.nn.init.constant_(table, value)
    entries = torch.cat([table.detach().flatten() for table in tables])
    expected = entries.square().mean().sqrt().item()
    assert 1 < expected < 3
    assert evaluate_pretraining(config, model, data[1])["embedding_scale"] == pytest.approx(expected)


@pytest.mark.parametrize("bigger", [True, False])
def test_the_first_objective_decides_what_a_pretraining_is_judged_by(make_config, make_data, bigger):
    metric = {} if bigger else {"valid_metric": "LogLoss"}
    config = make_config(train_stage="pretrain", pretrain_objectives=["replaced_item", "mlm"], **metric)
    data = make_data(config)
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model)
    score, result = trainer.fit(data[0], data[1])
    assert score == result["replaced_item_accuracy" if bigger else "replaced_item_loss"]
    assert 0 < result["replaced_item_accuracy"] < 1
    assert 0 < result["replaced_item_loss"] < 1
    assert {"mlm_loss", "mlm_accuracy"} < result.keys()
    assert trainer.evaluate(data[1]) == result  # replaced from the seed


def components(path):
    """The parts of a model in a pretraining checkpoint, which also has the values behind the ids."""
    return {name.split(".")[0] for name in load_file(path) if not name.startswith("encoding:")}


def test_replaced_items_alone_ask_for_no_plm(make_config, make_data):
    config = make_config("ClickPromptNoPLM", plm="/no/such/folder", pretrain_objectives=["replaced_item"])
    data = make_data(config)
    losses = []
    path = run_pretraining(config, data, losses)
    assert losses == [pytest.approx(0.693, abs=0.02)]
    assert components(path) == {"backbone", "head"}
    model = get_model("ClickPromptNoPLM")(config, data[0]._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPromptNoPLM")(config, model)
    trainer.fit(data[0], data[1])
    load_pretrained(config, data[0]._dataset, path)


def test_without_pamlm_prompts_and_plm_begin_as_without_pretraining(make_config, make_data):
    config = make_config(pretrain_objectives=["replaced_item"], unseen_id_embeddings="random")
    data = make_data(config)
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    before = copy.deepcopy(model.state_dict())
    trainer = get_trainer(config["MODEL_TYPE"], "ClickPrompt")(config, model)
    path = run_pretraining(config, data)
    config["pretrain_objectives"] = ["mlm"]  # the file says itself what it holds
    begin_finetuning(config, trainer.model, start=path, train_data=data[0], valid_data=data[1], all_rows=data[0])
    written = load_file(path)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, written[name] if name.startswith("backbone.") else before[name])


def test_both_objectives_give_a_checkpoint_that_hands_over_what_pamlm_does(make_config, make_data):
    config = make_config(pretrain_objectives=["mlm", "replaced_item"])
    data = make_data(config)
    path = run_pretraining(config, data)
    names = load_file(path).keys()
    assert components(path) == {"backbone", "prompt", "plm", "lm_head", "detector"}
    assert not [name for name in names if name.startswith("detector.backbone.")]  # kept once
    model = get_model("ClickPrompt")(config, data[0]._dataset)
    load_components(model, path, model.pretrained_components)
    again = load_pretrained(config, data[0]._dataset, path)
    assert torch.equal(
        again.detector.backbone.model.token_embedding_table.embedding.weight,
        model.backbone.model.token_embedding_table.embedding.weight,
    )


def test_a_config_is_not_changed_by_pretraining(base):
    config, data = base
    before = copy.copy(config.final_config_dict)
    run_pretraining(config, data)
    assert config.final_config_dict == before


@pytest.mark.parametrize("model", ["ClickPrompt", "ClickPromptNoPLM"])
@pytest.mark.parametrize("backbone", ["DCNV2", "FwFM", "FGCNN"])
def test_embeddings_alone_are_handed_over_and_layers_start_new(make_config, make_data, model, backbone):
    config = make_config(model, backbone=backbone, load_pretrained="embeddings")
    data = make_data(config)
    path = run_pretraining(config, data)
    started = {}
    for choice in ("all", "embeddings"):
        config = make_config(model, backbone=backbone, load_pretrained=choice, unseen_id_embeddings="random")
        torch.manual_seed(5)
        ours = get_model(model)(config, data[0]._dataset)
        new = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, ours)
        trainer.epochs = 0  # nothing is trained before the weights are compared
        trainer.fit(*data[:2], verbose=False, saved=False)
        started[choice] = ours.state_dict()
    stored = load_file(path)
    for name, tensor in started["embeddings"].items():
        table = "embedding" in name and name.startswith("backbone.")
        if table or name.startswith(("plm.", "prompt.")):
            assert torch.equal(tensor, stored[name])
            assert torch.equal(tensor, started["all"][name])
        else:
            assert torch.equal(tensor, new[name])
    layers = [name for name in new if name.startswith("backbone.") and "embedding" not in name]
    assert any(not torch.equal(started["all"][name], new[name]) for name in layers)


def test_tables_that_the_file_lacks_are_an_error_and_no_new_ones(make_config, make_data, base):
    path = run_pretraining(*base)
    config = make_config("ClickPromptNoPLM", embedding_size=4)
    model = get_model("ClickPromptNoPLM")(config, base[1][0]._dataset)
    with pytest.raises(WeightsError, match="its backbone does not fit this run"):
        load_components(model, path, ["backbone"], embeddings_of=["backbone"])
