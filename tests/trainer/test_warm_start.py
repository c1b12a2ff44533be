"""What a warm start copies, zeroes, restores and refuses."""

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import run_recbole
from recbole.utils import get_model, init_seed
from torch import nn

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.stage import TrainingStage
from recbole_clickprompt.trainer.table_rows import IdMap
from recbole_clickprompt.trainer.warm_start import WarmStart
from recbole_clickprompt.trainer.warm_start_file import SavedRun, structural_differences
from tests.conftest import SMALL
from tests.days import SETTINGS, write_day
from tests.ranks import on_ranks

PLAIN = {
    **SMALL, **SETTINGS, "backbone": "DCNV2", "train_stage": "finetune", "epochs": 1, "baselines": False,
    "user_knowledge": "none",
}  # fmt: skip
WITHOUT_JOB = {
    "load_col": None, "unload_col": {"user": ["job"]}, "text_fields": {"item_id": "film ID"},
}  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture
def days():
    write_day("monday")
    write_day("tuesday", 400, reverse=True)


def run(dataset="tuesday", model="ClickPromptNoPLM", **settings):
    return run_recbole(model=model, dataset=dataset, config_dict={**PLAIN, **settings})


def build(dataset, *, scales=None, **settings):
    """A model with initial weights, its training rows and its config."""
    config = Config("ClickPromptNoPLM", dataset, None, {**PLAIN, **settings})
    config["number_scales"] = scales
    part = data_preparation(config, create_dataset(config))[0]._dataset
    init_seed(1 if dataset == "monday" else 2, True)
    return get_model("ClickPromptNoPLM")(config, part), part, config


def saved_run(model, dataset, **settings):
    encoding = Encoding.of(dataset)
    return SavedRun(Path("saved.pth"), "finetune", settings, model.state_dict(), encoding, None, "")


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_every_backbone_scores_old_rows_as_before(days, backbone):
    settings = {"history_length": 3} if backbone == "DIN" else {}
    old, before, _ = build("monday", backbone=backbone, **settings)
    scales = {name: dict(entry) for name, entry in Encoding.of(before).numbers.items()}
    new, after, config = build("tuesday", backbone=backbone, scales=scales, **settings)
    WarmStart(saved_run(old, before), Encoding.of(after)).copy_into(new, config, zero=False)
    times = {time: row for row, time in enumerate(after.times.tolist())}
    rows = torch.tensor([times[time] for time in before.times.tolist()])
    expected = old.eval().predict(before[torch.arange(len(before))])
    assert torch.allclose(new.eval().predict(after[rows]), expected, atol=1e-6)
    assert expected.std() > 0


def began(monkeypatch, **settings):
    """The model and the optimizer of a run on Tuesday, before its first step."""
    seen = {}

    class Began(Exception):
        pass

    def stop(stage, *_, **__):
        seen.update(model=stage.model, optimizer=stage.optimizer)
        raise Began

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "train_epoch", stop)
        with pytest.raises(Began):
            run(**settings)
    return seen["model"], seen["optimizer"]


def table_of(model):
    """The embeddings of the fields with one id, and where each field begins."""
    backbone = model.backbone.model
    begins = dict(zip(backbone.token_field_names, backbone.token_field_offsets.tolist(), strict=True))
    return backbone.token_embedding_table.embedding.weight, begins


def tokens_of(dataset, field):
    return list(dataset.field2id_token[field])


def test_rows_are_found_by_their_values():
    def encoding(*items):
        return Encoding({"item_id": "token"}, {"item_id": ["[PAD]", *items]}, {})

    ids = IdMap(encoding("i7", "i3", "i5"), encoding("i3", "i9", "i7"))
    assert ids.new_ids["item_id"].tolist() == [0, 3, 1, -1]
    assert (ids.gone("item_id"), ids.added("item_id").tolist()) == (1, [2])
    places, size = ids.rows([2, "item_id"])
    assert (places.tolist(), size) == ([0, 1, 2, 5, 3, -1], 6)
    assert IdMap(encoding("i1"), encoding("i1")).is_identity("item_id")
    assert not ids.is_identity("item_id")


def test_an_encoding_is_read_as_it_was_written():
    tokens = {"item_id": ["[PAD]", "", "caf\u00e9", "a\nb", "\ud800"]}
    trained = {"item_id": torch.tensor([False, True, True, False, True])}
    numbers = {"year": {"missing": 1.5, "low": 0.0, "high": 2.0, "bins": None, "edges": None, "levels": None,
                        "log": False, "rows": 2}}  # fmt: skip
    written = Encoding({"item_id": "token", "year": "float"}, tokens, numbers, trained)
    header, tensors = written.pack()
    read = Encoding.unpack(header, tensors)
    assert read.fields == written.fields
    assert list(read.tokens["item_id"]) == tokens["item_id"]
    assert (read.numbers, read.trained["item_id"].tolist()) == (numbers, trained["item_id"].tolist())
    assert read.digest() == written.digest() == dataclasses.replace(written, trained={}).digest()
    tensors["item_id:ends"][-1] += 1
    with pytest.raises(WeightsError, match="the vocabulary of the weights is damaged"):
        Encoding.unpack(header, tensors)


@pytest.mark.parametrize("unseen", ["zero", "random"])
def test_new_ids_start_as_unseen_ones_do(days, monkeypatch, unseen):
    result = run("monday", unseen_id_embeddings=unseen)
    old = restore(Path(result["checkpoint"]), device=CPU)
    fresh, _ = began(monkeypatch, unseen_id_embeddings=unseen)
    model, _ = began(monkeypatch, unseen_id_embeddings=unseen, warm_start=result["checkpoint"])
    _, after, _ = build("tuesday")
    saved, initial, started = (table_of(m) for m in (old.model, fresh, model))
    items = tokens_of(old.train_data._dataset, "item_id")
    for id, token in enumerate(tokens_of(after, "item_id")):
        row = started[0][started[1]["item_id"] + id]
        if token in items:
            assert torch.equal(row, saved[0][saved[1]["item_id"] + items.index(token)])
        elif unseen == "zero":
            assert not row.any()
        else:
            assert torch.equal(row, initial[0][initial[1]["item_id"] + id])


def test_new_ids_start_from_their_texts_where_these_initialize_embeddings(days, monkeypatch, tiny_bert):
    text = {"init_from_text": ["item_id"], "plm": str(tiny_bert)}
    result = run("monday", **text)
    fresh, _ = began(monkeypatch, **text)
    model, _ = began(monkeypatch, **text, warm_start=result["checkpoint"])
    _, after, _ = build("tuesday")
    old = tokens_of(restore(Path(result["checkpoint"]), device=CPU).train_data._dataset, "item_id")
    new = [id for id, token in enumerate(tokens_of(after, "item_id")) if token not in old]
    (started, begins), (initial, _) = table_of(model), table_of(fresh)
    assert new
    assert torch.equal(started[begins["item_id"] :][new], initial[begins["item_id"] :][new])
    assert started[begins["item_id"] :][new].any()


def test_values_that_are_gone_are_counted(days, caplog):
    result = run("tuesday")
    caplog.set_level("INFO")
    run("monday", warm_start=result["checkpoint"])
    items = len({row.split("\t")[0] for row in Path("data/tuesday/tuesday.item").read_text().splitlines()[1:]})
    kept = len(Path("data/monday/monday.item").read_text().splitlines()) - 1
    assert f"warm start: item_id: {kept} known values, 0 new, {items - kept} gone" in caplog.text
    (line,) = (r.getMessage() for r in caplog.records if "no longer in the data" in r.getMessage())
    assert f"{items - kept} of item_id" in line


@pytest.mark.parametrize("how", [{}, {"discretization": {"year": {"method": "ED", "bucket": 3}}}])
def test_numbers_are_scaled_as_on_the_first_day_in_training_restoring_and_serving(days, how):
    first = run("monday", **how)
    second = run("tuesday", **how, warm_start=first["checkpoint"])
    third = run("tuesday", **how, warm_start=second["checkpoint"])
    scales = [
        restore(Path(r["checkpoint"]), device=CPU).train_data._dataset.scales for r in (first, second, third)
    ]
    fresh = build("tuesday", **how)[1].scales
    assert scales[0]["year"] == scales[1]["year"] == scales[2]["year"]
    assert fresh["year"] != scales[0]["year"]
    served = load_model(third["run_folder"])
    assert served.preprocessing.fields["year"].scale.missing == scales[0]["year"].missing
    table = pd.read_parquet(Path(third["run_folder"]) / "predictions.parquet")
    test = table[table["split"] == "test"]
    inter = pd.read_csv("data/tuesday/tuesday.inter", sep="\t", dtype=str)
    devices = inter.set_index(["user_id:token", "item_id:token", "timestamp:float"])["device:token"]
    times = test["time"].map(lambda time: str(int(time)))
    rows = test[["user", "item"]].set_axis(["user_id", "item_id"], axis=1)
    keys = zip(test["user"], test["item"], times, strict=True)
    rows["device"] = [devices.loc[[key]].iloc[0] for key in keys]
    assert served.predict(rows) == pytest.approx(test["score"].to_numpy(), abs=1e-6)


@pytest.mark.parametrize("learner", ["adamw", "adagrad"])
def test_the_optimizer_is_fresh_or_restored_by_value(days, monkeypatch, learner):
    settings = {"learner": learner, "weight_decay": 0.0}
    result = run("monday", **settings)
    _, fresh = began(monkeypatch, **settings, warm_start=result["checkpoint"])
    moments = "sum" if learner == "adagrad" else "exp_avg_sq"
    assert all(not entry[moments].any() for entry in fresh.state.values())
    given = {**settings, "warm_start": result["checkpoint"], "warm_start_optimizer": "restored"}
    model, restored = began(monkeypatch, **given, learning_rate=0.5)
    weight, begins = table_of(model)
    saved = torch.load(result["checkpoint"])
    before = restore(Path(result["checkpoint"]), device=CPU)
    old_weight, old_begins = table_of(before.model)
    names = [name for name, _ in before.model.named_parameters()]
    shapes = {tuple(p.shape): n for n, p in before.model.named_parameters()}
    assert shapes[tuple(old_weight.shape)] in names
    (old,) = (e[moments] for e in saved["optimizer"]["state"].values() if e[moments].shape == old_weight.shape)
    new = restored.state[weight][moments]
    _, after, _ = build("tuesday")
    items, present = tokens_of(before.train_data._dataset, "item_id"), tokens_of(after, "item_id")
    for id, token in enumerate(present):
        row = new[begins["item_id"] + id]
        expected = old[old_begins["item_id"] + items.index(token)] if token in items else torch.zeros(len(row))
        assert torch.equal(row, expected)
    assert new.any()
    assert restored.param_groups[0]["initial_lr"] == 0.5  # the present learning rate, not the saved one


def test_the_state_of_another_optimizer_is_refused(days):
    result = run("monday")
    with pytest.raises(SettingError, match="use the learner, plm_learning_rate and lazy_embedding_min_rows"):
        run(warm_start=result["checkpoint"], warm_start_optimizer="restored", learner="sgd", weight_decay=0.0)
    with pytest.raises(SettingError, match="warm_start_optimizer: restored has no effect without warm_start"):
        run(warm_start_optimizer="restored")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"embedding_size": 4}, r"does not fit this run: embedding_size \(saved 8, now 4\)"),
        ({"mlp_hidden_size": [16, 8]}, r"mlp_hidden_size \(saved \[16, 16\], now \[16, 8\]\)"),
        ({"backbone": "DCN"}, "was trained with backbone: 'DCNV2', and this run has 'DCN'"),
        ({"plm": "hashed"}, "was trained with plm: .* and this run has 'hashed'"),
        ({"threshold": {"rating": 5}}, "trained with threshold: {'rating': 4}, and this run has {'rating': 5}"),
        ({"numerical_features": [], "normalize_field": []}, "was trained with numerical_features: .'year'."),
        (WITHOUT_JOB, r"other features \(saved .*job:token.*; now (?!.*job)"),
        ({"pre_model_path": "x"}, "pre_model_path has no effect with warm_start"),
        ({"model": "CTRL"}, "is a run of the method ClickPromptNoPLM, and this is one of CTRL"),
        ({"train_stage": "pretrain"}, "train_stage: pretrain cannot start from .*, a finetuned model"),
    ],
)  # fmt: skip
def test_another_model_is_an_error_that_names_both_values(days, tiny_bert, changed, message):
    result = run("monday", plm=str(tiny_bert))
    with pytest.raises(SettingError, match=message):
        run(**{"plm": str(tiny_bert), "warm_start": result["checkpoint"], **changed})
    assert len(list(Path("saved").glob("*.pth"))) == 1


def test_objectives_of_pretraining_explain_weights_that_do_not_fit():
    saved = {"pretrain_objectives": ["replaced_item"], "pretrain_epochs": 3}
    now = {"pretrain_objectives": ["mlm"], "pretrain_epochs": 4}
    assert structural_differences(saved, now) == ["pretrain_objectives (saved ['replaced_item'], now ['mlm'])"]


def test_the_same_language_model_in_another_folder_is_accepted(days, tiny_bert):
    result = run("monday", plm=str(tiny_bert))
    shutil.copytree(tiny_bert, "moved")
    second = run(warm_start=result["checkpoint"], plm="moved")
    assert second["checkpoint"] != result["checkpoint"]


class Undeclared(nn.Module):
    """A model with a table that it does not declare."""

    def __init__(self, items):
        super().__init__()
        self.items = nn.Embedding(items, 2)

    def pretrained_parameters(self):
        return []


def test_a_table_that_a_model_does_not_declare_is_refused_instead_of_mixed_up(days):
    (_, before, _), (_, after, config) = build("monday"), build("tuesday")
    old, new = (Undeclared(part.num("item_id")) for part in (before, after))
    with pytest.raises(WeightsError, match="items has as many rows as item_id has .* implement table_rows"):
        WarmStart(saved_run(old, before), Encoding.of(after)).copy_into(new, config, zero=False)


def test_a_run_folder_stands_for_its_checkpoint(days, monkeypatch):
    result = run("monday")
    by_file, by_folder = (
        began(monkeypatch, warm_start=path)[0].state_dict()
        for path in (result["checkpoint"], result["run_folder"])
    )
    assert all(torch.equal(weight, by_folder[name]) for name, weight in by_file.items())


def test_a_killed_warm_start_is_resumed_to_the_same_weights_and_by_no_other(days, caplog):
    monday, other = run("monday"), run("monday", seed=1)
    settings = {"warm_start": monday["checkpoint"], "checkpoint_minutes": 1e-9, "epochs": 2}
    whole = run(**settings)
    train_batch = TrainingStage.train_batch

    def deadly(self, batch):
        if self.scheduler.last_epoch == 5:
            raise KeyboardInterrupt
        return train_batch(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingStage, "train_batch", deadly)
        with pytest.raises(KeyboardInterrupt):
            run(**settings)
    assert len(list(Path("saved").glob("*.resume"))) == 1
    caplog.set_level("WARNING")
    run(**{**settings, "warm_start": other["checkpoint"]}, resume="auto")
    assert "no state with these settings" in caplog.text
    assert "the warm start differ" in caplog.text
    resumed = run(**settings, resume="auto")
    weights, again = (torch.load(r["checkpoint"])["state_dict"] for r in (whole, resumed))
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


def test_grid_and_tune_take_it(days, capsys):
    result = run("monday")
    given = {**PLAIN, "dataset": "tuesday", "warm_start": result["checkpoint"]}
    Path("grid.yaml").write_text(json.dumps({"settings": given, "runs": {"warm": {"model": "ClickPromptNoPLM"}}}))
    assert main(["grid", "grid.yaml"]) == 0
    assert "| warm |" in capsys.readouterr().out
    space = {"learning_rate": "choice [0.01]"}
    tuned = {**given, "model": "ClickPromptNoPLM"}
    Path("tune.yaml").write_text(json.dumps({"settings": tuned, "space": space}))
    assert main(["tune", "tune.yaml"]) == 0
    assert "learning_rate: 0.01" in capsys.readouterr().out


def on_tuesday(settings):
    run(**settings)


def test_several_processes_start_from_the_same_weights(days):
    settings = {"warm_start": run("monday")["checkpoint"], "warm_start_optimizer": "restored"}
    alone = torch.load(run(**settings)["checkpoint"])["state_dict"]
    on_ranks(on_tuesday, {**settings, "checkpoint_dir": "together"}, world=2)
    (file,) = Path("together").glob("*.pth")
    together = torch.load(file)["state_dict"]
    assert all(torch.allclose(weight, together[name], atol=1e-5) for name, weight in alone.items())
