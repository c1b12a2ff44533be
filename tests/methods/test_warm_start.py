"""Every method continues from a run of an earlier day on data with more rows, users, items and other ids."""

from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole
from safetensors.torch import load_file

from recbole_clickprompt.backbones.unseen import token_embedding_tables
from recbole_clickprompt.host.restore import restore
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.trainer import trainer
from recbole_clickprompt.trainer.stage import TrainingStage
from recbole_clickprompt.trainer.table_rows import backbones_of
from tests.conftest import made_once, slow_but
from tests.days import SETTINGS, write_day
from tests.methods.msd.students import save_student
from tests.methods.p5.t5 import save_random_t5
from tests.methods.test_by_name import OWN

METHODS = [*dict.fromkeys(["ClickPrompt", "ClickPromptNoPLM", "PTab", *OWN])]
FEW = {"pretrain_rows": 100, "train_rows": None}
MORE = {
    "ClickPrompt": FEW, "ClickPromptNoPLM": FEW, "PTab": FEW,
    "MSD": {"lora_layers": 1, "history_length": 4, "near_items": 2, "adaptor_size": 16, "knowledge": None},
    "LLaCTR": {"user_knowledge": "none"}, "QARMLike": {"codebook_size": None, "user_knowledge": "none"},
    "SuKDLike": {"distill_weight": 0},
}  # fmt: skip
STAGES = {"ClickPrompt": "pretrain", "CTRL": "contrast", "FLIP": "pretrain", "BERT4CTRLike": "frozen_plm"}


class _Began(Exception):
    """Ends a run when its training is about to begin."""


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    return made_once(tmp_path_factory, "student", lambda folder: save_student(folder))


@pytest.fixture
def settings(small, student):
    save_random_t5(Path("random-t5"))
    write_day("monday")
    write_day("tuesday", 400, reverse=True)
    return {
        **small, **SETTINGS, "backbone": "DCNV2", "plm_num_layers": 1, "epochs": 1, "baselines": False,
        "save_predictions": False, "student": str(student), "student_num_layers": None,
    }  # fmt: skip


def settings_of(settings, model):
    own = {name: value for name, value in OWN.get(model, {}).items() if name not in ("data_path", "student")}
    given = {**settings, **own, **FEW, **MORE.get(model, {})}
    known = {*find_method(model).settings()}
    shared = {name: value for name, value in given.items() if name not in ("student", "student_num_layers")}
    return given if "student" in known else shared


def began(monkeypatch, run, stage):
    """The model and the training rows of a run when training in a stage is about to begin."""
    seen = {}
    from_config = TrainingStage.from_config.__func__

    def stop(cls, config, **arguments):
        if arguments["name"] != stage:
            return from_config(cls, config, **arguments)
        seen.update(model=arguments["model"], optimizer=arguments["optimizer"])
        raise _Began

    begin = trainer.StagedTrainer.fit

    def fit(self, train_data, *arguments, **options):
        seen.update(data=train_data._dataset)
        return begin(self, train_data, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "from_config", classmethod(stop))
        patch.setattr(trainer.StagedTrainer, "fit", fit)
        with pytest.raises(_Began):
            run()
    return seen


def keys(dataset):
    """User, item and time of each row."""
    columns = [dataset.inter_feat[field].tolist() for field in (dataset.uid_field, dataset.iid_field)]
    names = [dataset.id2token(dataset.uid_field, columns[0]), dataset.id2token(dataset.iid_field, columns[1])]
    return list(zip(*names, dataset.times.tolist(), strict=True))


@torch.no_grad()
def scores(model, dataset, rows):
    model.eval()
    return model.predict(dataset[torch.tensor(rows)])


def known_rows(model, dataset):
    """By table of a backbone, and by field and value, the embedding."""
    found = {}
    for number, backbone in enumerate(backbones_of(model)):
        names = backbone.token_field_names
        for place, table in enumerate(token_embedding_tables(backbone) if names else ()):
            for field, begin in zip(names, backbone.token_field_offsets.tolist(), strict=True):
                for id, value in enumerate(dataset.field2id_token[field]):
                    found[number, place, field, value] = table.weight[begin + id].detach().clone()
    return found


@pytest.mark.parametrize("model", slow_but(["ClickPrompt", "ClickPromptNoPLM", "KAR", "MSD"], METHODS))
def test_a_finetuned_model_starts_with_its_embeddings_and_its_scores_of_old_rows(settings, model, monkeypatch):
    given = settings_of(settings, model)
    checkpoint = run_recbole(model=model, dataset="monday", config_dict=given)["checkpoint"]
    old = restore(Path(checkpoint), device=torch.device("cpu"))
    given = {**given, "warm_start": checkpoint}
    new = began(monkeypatch, lambda: run_recbole(model=model, dataset="tuesday", config_dict=given), "finetune")
    before, after = old.train_data._dataset, new["data"]
    for field in ("user_id", "item_id"):
        assert list(before.field2id_token[field]) != list(after.field2id_token[field])[: before.num(field)]
        assert before.num(field) < after.num(field)
    place = {key: row for row, key in enumerate(keys(after))}
    rows = [place[key] for key in keys(before)]
    expected = scores(old.model, before, range(len(before)))
    assert expected.std() > 1e-6
    assert torch.allclose(scores(new["model"], after, rows), expected, atol=1e-6)
    saved, started = known_rows(old.model, before), known_rows(new["model"], after)
    assert saved.keys() <= started.keys()
    assert all(torch.equal(row, started[name]) for name, row in saved.items())
    assert not any(bool(row.any()) for name, row in started.items() if name not in saved)  # unseen ids are zero


@pytest.mark.parametrize("model", STAGES)
def test_a_stage_continues_from_its_result(settings, model, monkeypatch):
    given = {**settings_of(settings, model), "train_stage": STAGES[model]}
    run_recbole(model=model, dataset="monday", config_dict=given)
    (result,) = Path("saved").glob("monday-*.safetensors")
    again = {**given, "warm_start": str(result)}
    run = began(monkeypatch, lambda: run_recbole(model=model, dataset="monday", config_dict=again), STAGES[model])
    saved = known_rows(run["model"], run["data"])
    new = began(monkeypatch, lambda: run_recbole(model=model, dataset="tuesday", config_dict=again), STAGES[model])
    started = known_rows(new["model"], new["data"])
    assert saved.keys() < started.keys()
    assert all(torch.equal(row, started[name]) for name, row in saved.items())
    assert any(bool(row.any()) for name, row in started.items() if name not in saved)  # as a stage starts them


def test_a_stage_whose_examples_are_no_rows_continues_from_its_result(settings, monkeypatch):
    given = {**settings_of(settings, "LLaCTR"), "train_stage": "fields"}
    run_recbole(model="LLaCTR", dataset="monday", config_dict=given)
    (result,) = Path("saved").glob("monday-*.safetensors")
    saved = load_file(result)
    again = {**given, "warm_start": str(result)}
    new = began(monkeypatch, lambda: run_recbole(model="LLaCTR", dataset="tuesday", config_dict=again), "fields")
    weights = new["model"].state_dict()
    fresh = began(monkeypatch, lambda: run_recbole(model="LLaCTR", dataset="tuesday", config_dict=given), "fields")
    assert saved.keys() <= weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in saved.items())
    assert not all(torch.equal(weight, weights[name]) for name, weight in fresh["model"].state_dict().items())


@pytest.mark.parametrize("model", ["ClickPrompt", "FLIP"])
def test_finetuning_starts_from_the_result_of_a_stage_of_an_earlier_day(settings, model, monkeypatch):
    given = settings_of(settings, model)
    run_recbole(model=model, dataset="monday", config_dict={**given, "train_stage": STAGES[model]})
    (result,) = Path("saved").glob("monday-*.safetensors")
    again = {**given, "train_stage": "finetune", "warm_start": str(result)}
    new = began(monkeypatch, lambda: run_recbole(model=model, dataset="tuesday", config_dict=again), "finetune")
    (_,) = Path("saved").glob("tuesday-*.safetensors")
    started = known_rows(new["model"], new["data"])
    monday = {**given, "train_stage": "finetune", "pre_model_path": str(result)}
    old = began(monkeypatch, lambda: run_recbole(model=model, dataset="monday", config_dict=monday), "finetune")
    saved = known_rows(old["model"], old["data"])
    trained = {name: row for name, row in saved.items() if bool(row.any())}
    assert len(trained) > len(saved) / 2
    assert all(torch.equal(row, started[name]) for name, row in trained.items())
