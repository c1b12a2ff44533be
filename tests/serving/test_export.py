"""Exports score as PyTorch does, from raw rows, without torch."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.quick_start import run_recbole

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.data.numbers import MISSING_NUMBERS
from recbole_clickprompt.methods.clickprompt.model import ClickPromptNoPLM
from recbole_clickprompt.preprocessing.from_dataset import observe
from recbole_clickprompt.preprocessing.scaling import Scale
from recbole_clickprompt.serving import export as module
from recbole_clickprompt.serving import load_model, score
from recbole_clickprompt.serving.export import export
from recbole_clickprompt.serving.onnx import ExportError, input_names, write_onnx
from recbole_clickprompt.serving.schema_dataset import SchemaDataset
from recbole_clickprompt.serving.scores import OnnxScores, TorchScores
from tests.conftest import slow_but
from tests.serving.conftest import assert_script_agrees, field, preprocessing_of, with_features

# Runs a script as a machine without torch would
WITHOUT_TORCH = """
import runpy, sys
for name in ("torch", "transformers", "recbole", "recbole_clickprompt", "pandas"):
    sys.modules[name] = None
script = sys.argv[1]
sys.argv = sys.argv[1:]
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def exported(with_plm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "model"
    return export(with_plm.checkpoint, folder, int8=True, rows=50), folder


def test_an_export_with_plm_scores_raw_rows_as_pytorch_does(exported, with_plm):
    made, folder = exported
    assert made.rows == 50
    assert made.difference <= 1e-5
    model = load_model(folder)
    np.testing.assert_allclose(model.predict(with_plm.rows), with_plm.scores, atol=1e-5, rtol=0)
    np.testing.assert_allclose(model.predict(with_plm.rows[:1]), with_plm.scores[:1], atol=1e-5, rtol=0)
    unseen = with_features(with_plm.rows[:9]).assign(item_id="new", title="Grim Golden Tale", user_id="newer")
    expected = load_model(with_plm.checkpoint).predict(unseen)
    np.testing.assert_allclose(model.predict(unseen), expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "qwen3"])
def test_a_current_plm_exports(family, train, tiny_plms):
    run = train("ClickPrompt", plm=str(tiny_plms[family]), plm_num_layers=1)
    made = export(run.checkpoint, Path("model"), int8=False, rows=50)
    assert made.difference <= 1e-5
    np.testing.assert_allclose(load_model("model").predict(run.rows), run.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "amp"), [pytest.param("gpt2", False, marks=pytest.mark.slow), ("roberta", True)]
)
def test_a_model_with_interaction_layers_is_exported_with_the_states_of_known_texts(family, amp, train, tiny_plms):
    run = train(
        "ClickPrompt", plm=str(tiny_plms[family]), plm_num_layers=2, plm_interaction_layers=1, enable_amp=amp
    )
    made = export(run.checkpoint, Path("model"), int8=False, rows=50)
    assert made.difference <= 1e-5
    assert {"states.npy", "frozen_layers.onnx"} <= set(made.files)
    model, trained = load_model("model"), load_model(run.checkpoint)
    out, told, code = score_by_script(Path("model"), write_rows(run.rows[:40]))
    assert code == 0, told
    scores = [float(line) for line in out.split()]
    np.testing.assert_allclose(scores, model.predict(run.rows[:40]), atol=1e-6, rtol=0)
    tolerance = 1e-3 if amp else 1e-5  # an export computes in float32
    np.testing.assert_allclose(model.predict(run.rows), run.scores, atol=tolerance, rtol=0)
    unseen = with_features(run.rows[:9]).assign(item_id="new", title="Grim Golden Tale", user_id="newer")
    np.testing.assert_allclose(model.predict(unseen), trained.predict(unseen), atol=1e-3, rtol=0)
    out, told, code = score_by_script(Path("model"), write_rows(unseen))
    assert code == 0, told
    np.testing.assert_allclose([float(line) for line in out.split()], model.predict(unseen), atol=1e-6, rtol=0)


def score_by_script(folder, rows):
    """What the script prints, and its exit code, on a machine without torch."""
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(folder / "score.py"), str(rows)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return answer.stdout, answer.stderr, answer.returncode


def test_the_script_scores_without_torch(exported, with_plm, tmp_path):
    _, folder = exported
    # with the mark that spreadsheets write first
    with_plm.rows.to_csv(tmp_path / "rows.csv", index=False, encoding="utf-8-sig")
    out, told, code = score_by_script(folder, tmp_path / "rows.csv")
    assert code == 0, told
    np.testing.assert_allclose([float(line) for line in out.split()], with_plm.scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('u1,i1,"gift\nu2,i2,phone\nu3,i3,mum"\n', "a quoted value spans several lines"),
        ("u1,i1\n", "row 1 has 2 values where the header has 3"),
        ('u1,i1,"gift\n', "rows.csv: unexpected end of data"),
    ],
)
def test_the_script_refuses_rows_that_are_not_one_a_line(row, message, exported, tmp_path):
    (tmp_path / "rows.csv").write_text(f"user_id,item_id,device\n{row}")
    out, told, code = score_by_script(exported[1], tmp_path / "rows.csv")
    assert (out, code) == ("", 2)
    assert message in told


def test_the_script_names_an_invalid_number_in_one_line(exported, tmp_path):
    (tmp_path / "rows.csv").write_text("user_id,item_id,device,year\nu1,i1,phone,19x\n")
    out, told, code = score_by_script(exported[1], tmp_path / "rows.csv")
    assert (out, told, code) == ("", f"{tmp_path / 'rows.csv'}: year accepts numbers, got '19x'\n", 2)


def test_the_script_names_a_file_that_is_not_there(exported, tmp_path):
    out, told, code = score_by_script(exported[1], tmp_path / "none.csv")
    assert (out, code) == ("", 2)
    assert "No such file" in told
    assert "none.csv" in told


def test_the_script_refuses_a_changed_file(exported, tmp_path):
    folder = shutil.copytree(exported[1], tmp_path / "model")
    vocabulary = (folder / "vocabulary.json").read_text()
    (folder / "vocabulary.json").write_text(vocabulary.replace('"u1"', '"u0"'))
    (tmp_path / "rows.csv").write_text("user_id,item_id,device\nu1,i1,phone\n")
    assert score_by_script(folder, tmp_path / "rows.csv") == (
        "", "vocabulary.json was changed after the export; export the model again\n", 2,
    )  # fmt: skip


def test_8_bit_weights_are_smaller_and_their_auc_is_told(exported):
    made, folder = exported
    assert sorted(made.files) == [
        "checksums.json", "features.npz", "model.onnx", "model_int8.onnx", "schema.json", "score.py",
        "tokenizer.json", "tokens.npz", "vocabulary.json",
    ]  # fmt: skip
    assert sorted(made.files) == sorted(path.name for path in folder.iterdir())
    sums = json.loads((folder / "checksums.json").read_text())
    assert {*sums, "score.py", "checksums.json"} == set(made.files)  # the script is for users to edit
    assert made.files["model_int8.onnx"] < made.files["model.onnx"]
    assert made.auc_int8 == pytest.approx(made.auc, abs=0.05)


def test_the_command_says_what_it_made_and_never_replaces(without_plm, capsys):
    command = ["export", str(without_plm.checkpoint), "-o", "out", "--int8"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "largest difference to PyTorch's scores on 131 test rows: " in out
    assert "AUC of these rows: 0." in out
    assert main(["predict", "out", write_rows(without_plm.rows), "-o", "scores.csv"]) == 0
    scores = pd.read_csv("scores.csv")["score"]
    np.testing.assert_allclose(scores, without_plm.scores, atol=1e-5, rtol=0)
    assert main(command) == 2
    assert "out already exists" in capsys.readouterr().err


def write_rows(rows):
    rows.to_csv("rows.csv", index=False)
    return "rows.csv"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows=2"], "--rows must be 3 or more"),
        (["--fast"], "unrecognized argument --fast"),
    ],
)
def test_bad_options_are_one_line(options, message, without_plm, capsys):
    assert main(["export", str(without_plm.checkpoint), "-o", "out", *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_export_that_fails_its_check_is_not_left_behind(without_plm, monkeypatch):
    monkeypatch.setattr(module, "write_onnx", lambda *_: None)
    monkeypatch.setattr(module, "OnnxScores", lambda *_: lambda columns: np.full(len(columns["user_id"]), 0.5))
    with pytest.raises(ExportError, match="scores of the export differ from PyTorch's by up to"):
        export(without_plm.checkpoint, Path("out"), int8=False, rows=50)
    assert not list(Path().glob("*out*"))


def test_a_missing_package_is_named(without_plm, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", str(without_plm.checkpoint), "-o", "out"]) == 2
    assert "pip install 'recbole-clickprompt[export]'" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_plm_that_cannot_be_exported_is_refused_by_name(train, tiny_plms):
    run = train("ClickPrompt", plm=str(tiny_plms["deberta"]))
    with pytest.raises(ExportError, match="a 'deberta-v2' model cannot be exported: .*`recbole-cp predict`"):
        export(run.checkpoint, Path("out"), int8=False, rows=50)


@pytest.fixture(scope="module")
def rows_of_numbers_and_sequences(make_config, make_data):
    # A field of each kind and no more: torch's exporter takes its time for each
    columns = {"inter": ["user_id", "item_id", "rating", "timestamp"], "item": ["item_id", "year", "genre"]}
    config = make_config(
        "ClickPromptNoPLM", numerical_features=["year"], normalize_field=["year"], load_col=columns,
        text_fields={"item_id": "film"}, value_labels={}, whole_text_fields=[],
    )  # fmt: skip
    dataset = make_data(config)[0]._dataset
    return observe(dataset, None), dataset[torch.arange(33)]


@pytest.mark.parametrize(  # test_history exports DIN
    "backbone", slow_but(["DCNV2", "FiGNN", "FiBiNET"], [name for name in BACKBONES if name != "DIN"])
)
def test_every_backbone_exports(backbone, make_config, rows_of_numbers_and_sequences, tmp_path):
    preprocessing, rows = rows_of_numbers_and_sequences
    config = make_config(
        "ClickPromptNoPLM", backbone=backbone, numerical_features=["year"], mlp_hidden_size=[8], embedding_size=4,
        cross_layer_num=1, num_blocks=1, n_layers=1,
    )  # fmt: skip
    model = ClickPromptNoPLM(config, SchemaDataset(preprocessing)).eval()
    columns = {name: rows[name].numpy() for name in input_names(model, preprocessing)}
    write_onnx(model, preprocessing, {name: values[:3] for name, values in columns.items()}, tmp_path / "m.onnx")
    exported = OnnxScores(tmp_path / "m.onnx")
    assert set(exported.session.inputs) == set(columns)
    expected = TorchScores(model, torch.device("cpu"), enable_amp=False)(columns)
    np.testing.assert_allclose(exported(columns), expected, atol=1e-5, rtol=0)
    first = {name: values[:1] for name, values in columns.items()}
    np.testing.assert_allclose(exported(first), expected[:1], atol=1e-5, rtol=0)


HOUR = field("hour", "float", Scale(missing=6.0, low=4.0, high=8.0))
TAGS = field("tags", "token_seq", width=3)
PRICES = field("prices", "float_seq", Scale(missing=0.0), width=2)


@pytest.mark.parametrize(
    "fields",
    [
        [replace(HOUR, range=(0.0, 1.0)), TAGS],
        [replace(HOUR, scale=Scale(missing=6.0)), replace(TAGS, list_separator=",")],
        [
            replace(HOUR, scale=Scale(missing=0.5, low=-1.0, high=8.0, log=True)),
            replace(PRICES, range=(0.0, 10.0)),
        ],
        [replace(HOUR, scale=Scale(missing=6.0, low=6.0, high=6.0)), replace(TAGS, name="hint", type="token")],
        [replace(HOUR, scale=Scale(missing=0.0, bins=4, edges=(0.0, 9.0))), PRICES],
        [
            replace(HOUR, scale=Scale(missing=1.0, levels=(0.0, 1.0, 3.0, 7.0))),
            replace(HOUR, name="old", feature=False),
        ],
        [replace(TAGS, name="hint", type="token", width=1, unsplit=True)],
    ],
)
def test_the_script_reads_every_kind_of_field_as_predict_does(fields, tmp_path):
    hours = ["5", "", " NA", "-inf", "1e300", "+7.5", "-3", "1e999", "4.", ".5"]
    lists = ["b x a b", "", "b", " a  b ", "a, b", "b,a,,x", "a b", "\ta", "x", "b"]
    numbers = ["1 inf 2", "na 5", "1e300", "", "3", "-2 4", "0 0", "7", "8 9", "1"]
    columns = {
        "user_id": ["b", "", " b ", "a", "?", "a", "b ", "a", "a", "a"], "item_id": "a",
        "hour": hours, "old": hours, "tags": lists, "hint": [" a  b", "a", *lists[2:]], "prices": numbers,
    }  # fmt: skip
    preprocessing_of(*fields).save(tmp_path)
    names = ["user_id", "item_id", *(field.name for field in fields)]
    assert_script_agrees(tmp_path, pd.DataFrame(columns)[names])


def test_the_script_reads_texts_and_features_of_unseen_users_and_items_as_predict_does(exported, with_plm):
    rows = with_features(with_plm.rows[:12]).astype(object)
    rows.loc[2:5, "item_id"] = ["new", None, " i1 ", "newer"]
    rows.loc[4:9, "user_id"] = "who"
    rows.loc[3:6, "title"] = ["Grim  Golden Tale", None, "Unheard Of", "Grim"]
    rows.loc[2:7, "year"] = ["1996.0", "inf", "NA", "3e9", "-7", "1996.5"]
    rows.loc[8, "device"], rows.loc[9, "device"] = "watch", None
    assert_script_agrees(exported[1], rows)
    assert_script_agrees(exported[1], with_plm.rows)


def test_the_script_has_the_words_for_a_missing_number():
    assert score.MISSING == MISSING_NUMBERS


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id,item_id,device,usr", "usr are not fields of the model: "),
        ("user_id,item_id", "the columns device are missing"),
        ("user_id,item_id,device,device", "a column occurs twice"),
    ],
)
def test_the_script_rejects_other_columns(header, message, exported):
    with pytest.raises(ValueError, match=message):
        score.Model(exported[1]).names(header.split(","))


@pytest.mark.slow
def test_a_language_model_without_a_backbone_is_exported(small, capsys):
    run_recbole(
        model="PTab",
        dataset="tiny",
        config_dict={**small, "epochs": 1, "micro_batch_size": 64, "train_stage": "finetune"},
    )
    (run,) = Path("saved").glob("PTab-*.pth")
    assert main(["export", str(run), "--out=model", "--rows=20"]) == 0
    assert "largest difference to PyTorch's scores on 20 test rows" in capsys.readouterr().out
    rows = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": ["phone", "phone"]})
    np.testing.assert_allclose(load_model("model").predict(rows), load_model(run).predict(rows), atol=1e-5, rtol=0)


def test_a_model_whose_inputs_are_unknown_is_refused(tmp_path):
    with pytest.raises(ExportError, match="Linear cannot be exported: it has neither a backbone nor a PLM"):
        write_onnx(torch.nn.Linear(1, 1), preprocessing_of(), {}, tmp_path / "model.onnx")
