"""Whole runs by name: training, resuming, predicting, reporting, grids and tuning; what is refused."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from recbole.quick_start import run_recbole

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.knowledge.embedded import find_knowledge
from recbole_clickprompt.methods.msd.model import MSD
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.fingerprint import differences, finetuning_inputs
from recbole_clickprompt.trainer.stage import TrainingStage
from tests.methods.msd.students import SETTINGS, save_student
from tests.trainer.whole_run import in_child

RUN = {**SETTINGS, "epochs": 2, "train_rows": 300, "train_batch_size": 100, "plm_learning_rate": 0.01}


@pytest.fixture
def settings(student):
    return {**RUN, "student": str(student)}


def runs(folder="saved"):
    return sorted(Path(folder).glob("MSD-*.pth"), key=lambda path: path.stat().st_mtime)


def weights(path):
    return torch.load(path)["state_dict"]


def test_a_whole_run_is_deterministic_trains_lora_alone_and_is_served(settings, student):
    result = run_recbole(model="MSD", dataset="tiny", config_dict=settings)
    (run,) = runs()
    folder = open_run(run)
    assert folder.info["title"] == "MSD (DCNV2)"
    table = folder.predictions("test")
    assert torch.sigmoid(torch.tensor(table["logit"])).numpy() == pytest.approx(table["score"], abs=1e-6)
    trained = weights(run)
    assert bool(trained["texts.is_current"])
    assert {name.partition(".")[0] for name in trained} == {"texts", "backbone", "near", "mask_rates"}
    from recbole_clickprompt.plm.generative import load_generative

    before = load_generative(str(student)).model.base_model.state_dict()
    adapters = [name for name in trained if "lora_B" in name]
    assert len(adapters) == 2
    assert all(trained[name].any() for name in adapters)
    for name, weight in before.items():
        kept = trained.get(f"texts.student.encoder.base.{name}")
        if kept is None:
            kept = trained[f"texts.student.encoder.base.{name.replace('.weight', '.base_layer.weight')}"]
        assert torch.equal(kept, weight)
    rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"})
    rows["device"] = "phone"
    served = load_model(run)
    scores = served.predict(rows)
    assert scores.shape == (len(rows),)
    again = run_recbole(model="MSD", dataset="tiny", config_dict={**settings, "checkpoint_dir": "again"})
    assert again["test_result"] == result["test_result"]
    (other,) = runs("again")
    assert all(torch.equal(weight, trained[name]) for name, weight in weights(other).items())


def test_the_student_is_distilled_first_and_its_weights_are_read(settings):
    from recbole_clickprompt.trainer.pretrained_checkpoint import _read

    given = {**settings, "knowledge": ["tiny-items"], "distill_epochs": 1, "distill_evaluated": 0, "epochs": 1}
    run_recbole(model="MSD", dataset="tiny", config_dict=given)
    (run,), (stage,) = runs(), Path("saved").glob("tiny-student-*.safetensors")
    assert list(open_run(run).history()["stage"].unique()) == ["distill", "finetune"]
    _, distilled = _read(stage)
    trained = weights(run)
    prefix = "texts.student.encoder.base."
    for name, weight in distilled.items():
        own = name.removeprefix("student.model.")
        if f"{prefix}{own}" in trained:
            assert torch.equal(trained[f"{prefix}{own}"], weight)
    changed = f"{prefix}layers.2.self_attn.q_proj.base_layer.weight"
    assert torch.equal(trained[changed], distilled["student.model.layers.2.self_attn.q_proj.weight"])
    before = stage.stat().st_mtime_ns
    run_recbole(model="MSD", dataset="tiny", config_dict={**given, "fusion": "mean", "lora_layers": 2})
    assert stage.stat().st_mtime_ns == before
    assert len(list(Path("saved").glob("tiny-student-*.safetensors"))) == 1


def test_served_scores_are_those_of_evaluation_and_new_items_are_read(settings):
    run_recbole(model="MSD", dataset="tiny", config_dict={**settings, "history_until": "training"})
    (run,) = runs()
    from recbole_clickprompt.serving.load import build_data, load_trained

    trained = load_trained(run)
    *_, test = build_data(trained.config)
    batch = test[torch.arange(len(test))]
    tokens = test.field2id_token
    lists = [
        "|".join(tokens["item_id"][item] for item in items[:count])
        for items, count in zip(batch["item_id_list"].tolist(), batch["item_length"].tolist(), strict=True)
    ]
    rows = pd.DataFrame(
        {
            "user_id": tokens["user_id"][batch["user_id"]], "item_id": tokens["item_id"][batch["item_id"]],
            "device": tokens["device"][batch["device"]], "item_id_list": lists,
        }
    )  # fmt: skip
    with torch.no_grad():
        expected = trained.model.predict(batch).numpy()
    assert load_model(run).predict(rows) == pytest.approx(expected, abs=1e-6)
    new = rows.head(2).assign(item_id="new", title=["Sunny Golden", "Grim Haunted"], year="1996", genre="Drama")
    new = new.assign(user_id=rows["user_id"][0], item_id_list=lists[0], device="phone")
    first, second = load_model(run).predict(new)
    assert first != second


def test_a_killed_run_is_resumed_to_the_same_weights(settings, monkeypatch):
    settings = {**settings, "refresh_steps": 2}
    run_recbole(model="MSD", dataset="tiny", config_dict=settings)
    (whole,) = runs()
    killed = {**settings, "checkpoint_dir": "killed", "checkpoint_minutes": 1e-9}
    train_batch = TrainingStage.train_batch

    def deadly(self, batch):
        if self.scheduler.last_epoch == 4:  # the second batch of the second epoch, between two refreshments
            os.kill(os.getpid(), signal.SIGKILL)
        return train_batch(self, batch)

    def run(**more):
        run_recbole(model="MSD", dataset="tiny", config_dict={**killed, **more})

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStage, "train_batch", deadly)
        assert in_child(run, Path("answer")) == -signal.SIGKILL
    assert in_child(lambda: run(resume="auto"), Path("answer")) == 0
    resumed = weights(runs("killed")[-1])
    assert all(torch.equal(weight, resumed[name]) for name, weight in weights(whole).items())


def test_predict_report_grid_and_tune_take_it(settings, capsys):
    grid = {"settings": {**settings, "dataset": "tiny", "epochs": 1}, "runs": {"ours": {"model": "MSD"}}}
    Path("grid.yaml").write_text(yaml.safe_dump(grid))
    assert main(["grid", "grid.yaml"]) == 0
    assert "| ours |" in capsys.readouterr().out
    run = next(Path().rglob("MSD-*.pth"))
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "new"], "device": ["phone", "phone"]})
    rows.to_csv("rows.csv", index=False)
    assert main(["predict", str(run), "rows.csv", "--output=scores.csv"]) == 0
    assert np.isfinite(pd.read_csv("scores.csv")["score"]).all()
    assert main(["report", str(run), "--samples=10", "--out=report.html"]) == 0
    assert "MSD (DCNV2)" in Path("report.html").read_text()
    space = {"near_items": "choice [1, 2]"}
    shared = {name: value for name, value in settings.items() if name != "near_items"}
    Path("tune.yaml").write_text(
        yaml.safe_dump({"settings": {**shared, "model": "MSD", "dataset": "tiny", "epochs": 1}, "space": space})
    )
    assert main(["tune", "tune.yaml"]) == 0
    assert "near_items: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"backbone": "LR"}, "MSD adds vectors of texts as fields, which LR does not support; use one of AFM"),
        ({"backbone": "FGCNN"}, "which FGCNN does not support"),
        ({"history_length": None}, "fusion: sum reads each user's earlier clicks; set history_length"),
        ({"fusion": "none"}, "history_length is 4, but .*by itself; set history_length to ~, or"),
        (
            {"fusion": "none", "history_length": None, "fuse_target": False, "user_knowledge": "none"},
            "leave no vectors of texts; use the backbone alone",
        ),
        ({"train_user_texts": True, "user_knowledge": "none"}, "nothing to train with user_knowledge: none"),
        ({"train_user_texts": True, "train_texts": "none"}, "nothing to train with train_texts: none"),
        ({"train_user_texts": True, "vectors": "random"}, "nothing to train with vectors: random"),
        ({"fusion": "none", "fuse_target": False, "user_knowledge": "none"}, "leave no vectors of texts"),
        ({"fusion": "histogram", "train_texts": "all"}, "nothing to train in clicks with fusion: histogram"),
        (
            {"fusion": "histogram", "fuse_target": False},
            "targets has nothing to train with fuse_target: False and fus",
        ),
        (
            {"fuse_target": False},
            "has nothing to train .* fusion: sum.* set train_texts to all or none, or fuse_targ",
        ),
        (
            {"fuse_target": False, "fusion": "mean"},
            "has nothing to train with fuse_target: False and fusion: mean",
        ),
        (
            {"fuse_target": False, "fusion": "none", "history_length": None},
            "nothing to train with fuse_target: False and fusion: none, .* set train_texts to none, or",
        ),
        ({"read_answers": True}, "read_answers needs a teacher's answers"),
        ({"shuffle_knowledge": True}, "shuffle_knowledge needs a teacher's answers"),
        ({"init_from_text": ["item_id"]}, "init_from_text has no place in MSD"),
        ({"mask_rate": 0.5}, "mask_rate must be a number from 0 to below 0.5"),
        ({"mask_items": "rare"}, "mask_items must be one of none, uniform, head, tail"),
        ({"fusion": "max"}, "fusion must be one of sum, mean, softmax, attention, histogram, none"),
        ({"near_items": 0}, "near_items must be an integer, 1 or more, got 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(msd_config, given, words):
    with pytest.raises(SettingError, match=words):
        msd_config(**given)


def test_commands_report_faults_in_one_line(settings, capsys):
    for given, words in (
        ({"student": "/nowhere/at/all"}, "no such folder"),
        ({"lora_layers": 9}, "lora_layers is 9, but the student has 3 layers"),
        ({"student_num_layers": 9}, "student_num_layers is 9, but "),
        ({"plm_lora": {"r": 10_000}}, "r is 10000, more than the width of the student's layers, 64"),
        ({"max_text_length": 300}, "max_text_length is 300, but the student has 256 positions; lower it"),
        (
            {"knowledge": ["tiny-items"], "distill_answer_length": 250},
            "the student has 256 positions, but texts have up to",
        ),
        ({"text_fields": {"user_id": "user ID", "item_id": "item ID"}}, "text_fields has no field of items"),
    ):
        flags = [f"--{key}={json.dumps(value)}" for key, value in {**settings, **given}.items()]
        assert main(["run", "--model=MSD", "--dataset=tiny", *flags]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert words in line


def test_texts_are_as_long_as_the_students_positions_allow_without_a_limit(msd_config, make_data):
    config = msd_config(max_text_length=None)
    model = find_method("MSD").model_class()(config, make_data(config)[0]._dataset)
    assert model.texts.student._tokenize.max_length == 256


def test_a_run_lists_nearest_items_and_phrases_for_its_report(settings):
    given = {**settings, "epochs": 1, "knowledge": ["tiny-items"], "distill_epochs": 0, "distill_evaluated": 0}
    run_recbole(model="MSD", dataset="tiny", config_dict=given)
    (table,) = open_run(runs()[-1]).tables()
    assert table.header == ["item", "implicit phrases", "nearest items"]
    assert len(table.rows) == 10
    for item, phrases, nearest in table.rows:
        assert ";" in phrases
        assert len(nearest.split("; ")) == 3
        assert item not in nearest.split("; ")


@pytest.mark.parametrize(("lines", "missing"), [(4, 60), (0, None)])
def test_items_without_answers_are_reported_and_all_of_them_refused(msd_config, make_data, caplog, lines, missing):
    answers = find_knowledge("tiny-items").read_text().splitlines()
    about_users = answers[9].replace('"item_id"', '"user_id"')
    Path("some.jsonl").write_text("\n".join([*answers[:lines], about_users]))
    config = msd_config(knowledge=["some.jsonl"], read_answers=True, distill_epochs=0)
    train, valid, _ = make_data(config)
    model = MSD(config, train._dataset)
    begin = partial(
        find_method("MSD").begin_finetuning, config, model, start=None, train_data=train, valid_data=valid,
        all_rows=train,
    )  # fmt: skip
    if missing is None:
        with pytest.raises(DataError, match="knowledge: some.jsonl: no valid answer is about items, whose texts"):
            begin()
    else:
        with caplog.at_level("INFO"):
            begin()
        assert f"{missing} of 64 texts of items have no answer and are read alone" in caplog.messages


def test_answers_are_read_by_the_student_or_exchanged(msd_config, make_data):
    from recbole_clickprompt.methods.msd.builders import texts_of
    from recbole_clickprompt.methods.text_vectors.answers import teacher_answers

    config = msd_config(knowledge=["tiny-items"], read_answers=True)
    train = make_data(config)[0]._dataset
    answers, texts = teacher_answers(config, "item", seed=1), texts_of(config, train, "item")
    plain = texts_of(msd_config(knowledge=["tiny-items"]), train, "item")
    for item, (text, without) in enumerate(zip(texts, plain, strict=True)):
        answer = answers.get(str(train.id2token("item_id", item)))
        said = "" if answer is None or not without else f" {'; '.join((*answer.explicit, *answer.implicit))}."
        assert text == without + said
    shuffled = teacher_answers(msd_config(knowledge=["tiny-items"], shuffle_knowledge=True), "item", seed=1)
    assert sorted(shuffled.values()) == sorted(answers.values())
    assert all(shuffled[key] is not answers[key] for key in answers)


def test_another_student_or_other_texts_make_another_run(msd_config, make_data, tmp_path, student):
    def inputs(**given):
        config = msd_config(**given)
        train, valid, _ = make_data(config)
        further = find_method("MSD").inputs(config, train._dataset)
        return finetuning_inputs(config, train, valid, None, reads_text=False, further=further)

    ours = inputs()
    assert inputs() == ours
    other = save_student(tmp_path / "other", seed=6)
    assert "the student weights" in differences(ours, inputs(student=str(other)))
    assert "the student texts" in differences(ours, inputs(value_labels={"gender": {"F": "woman", "M": "man"}}))
    found = differences(ours, inputs(text_fields={"gender": "gender", "title": "title"}))
    assert "the student texts" in found
