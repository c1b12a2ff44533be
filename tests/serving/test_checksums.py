"""A folder whose files were changed is refused by the name of the file; it never gives other scores."""

import json
import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.scaling import Scale
from recbole_clickprompt.preprocessing.schema import Field
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.load import load_trained
from tests.serving.conftest import preprocessing_of

FILES = ["schema.json", "vocabulary.json", "features.npz", "tokens.npz", "tokenizer.json"]


@pytest.fixture(scope="module")
def preprocessing(with_plm):
    return load_trained(with_plm.checkpoint).preprocessing


@pytest.fixture
def folder(preprocessing, tmp_path):
    preprocessing.save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused_by_the_name_of_the_file(folder, name):
    Preprocessing.load(folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} was modified.*; export or train again"):
        Preprocessing.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_its_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} is missing|it has no {name}"):
        Preprocessing.load(folder)


def test_two_tokens_that_change_places_are_refused(folder):
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    vocabulary["item_id"][1:3] = vocabulary["item_id"][2:0:-1]
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    with pytest.raises(DataError, match="vocabulary.json was modified"):
        Preprocessing.load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "checksums.json is damaged"),
        ("[]", "checksums.json is damaged: it must map file names to checksums"),
        ('{"../schema.json": ""}', "checksums.json is damaged: it must map file names to checksums"),
        ("{}", "schema.json has no checksum in checksums.json"),
        ('{"schema.json": null}', "schema.json was modified"),
    ],
)
def test_damaged_checksums_are_refused(folder, content, message):
    (folder / "checksums.json").write_text(content)
    with pytest.raises(DataError, match=message):
        Preprocessing.load(folder)


def test_without_checksums_there_is_a_warning_of_one_line(folder, caplog):
    Preprocessing.load(folder)
    assert not caplog.records
    (folder / "checksums.json").unlink()
    Preprocessing.load(folder)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "has no checksums.json: it was written by an earlier version, or the file was removed" in record.message
    assert "\n" not in record.message


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """The folder of an export, its model a stand-in for one; what is tested is read before it."""
    monkeypatch.setattr(
        "recbole_clickprompt.serving.exported_files.OnnxScores", lambda *_: lambda columns: columns["user_id"]
    )
    (tmp_path / "model.onnx").write_bytes(b"model")
    (tmp_path / "score.py").write_text("print()")
    preprocessing_of().save(tmp_path)
    sums = json.loads((tmp_path / "checksums.json").read_text())
    (tmp_path / "checksums.json").write_text(json.dumps({k: v for k, v in sums.items() if k != "score.py"}))
    return tmp_path


def test_a_changed_model_is_refused_and_a_changed_script_is_not(exported, capsys):
    load_model(exported)
    (exported / "score.py").write_text("print(1)")
    load_model(exported)
    (exported / "model.onnx").write_bytes(b"Model")
    (exported / "rows.csv").write_text("user_id,item_id\na,b\n")
    assert main(["predict", str(exported), str(exported / "rows.csv"), "-o", "s.csv"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model.onnx was modified: its checksum differs from checksums.json; export" in line


def test_an_export_without_its_model_is_refused(exported):
    (exported / "model.onnx").unlink()
    with pytest.raises(DataError, match="model.onnx is missing; export or train again"):
        load_model(exported)


def test_a_model_put_into_the_preprocessing_of_a_run_is_not_read(folder):
    (folder / "model.onnx").write_bytes(b"model")
    with pytest.raises(DataError, match="model.onnx has no checksum in checksums.json"):
        load_model(folder)


SPOILT = {
    "a token twice": ("vocabulary", {"item_id": ["[PAD]", "a", "a"]}, "does not have 3 distinct tokens"),
    "a token too few": ("vocabulary", {"item_id": ["[PAD]", "a"]}, "does not have 3 distinct tokens"),
    "numbers as tokens": ("vocabulary", {"item_id": ["[PAD]", 1, 2]}, "contains non-strings"),
    "a short table": ("tables", {"year": np.zeros((2, 2), np.float32)}, r"table of 'year' has the shape \(2, 2\)"),
    "texts in a table": ("tables", {"year": np.full((3, 2), "x")}, "has dtype <U1"),
    "ids beyond": ("tables", {"genre": np.array([0, 1, 9])}, "table of 'genre' contains ids beyond its 2 tokens"),
    "another user": ("user", "customer", "'customer' is not a field of ids"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILT)
def test_parts_that_do_not_fit_are_refused(case, tmp_path):
    part, content, message = SPOILT[case]
    year = Field("year", "float", "item", 1, 1, feature=True, unsplit=False, scale=Scale(missing=1.0))
    genre = Field("genre", "token", "item", 2, 1, feature=True, unsplit=False, scale=None)
    plain = preprocessing_of()
    good = replace(
        plain,
        fields={**plain.fields, "year": year, "genre": genre},
        vocabulary={**plain.vocabulary, "genre": np.array(["[PAD]", "Drama"], dtype=object)},
        tables={"year": np.zeros((3, 2), np.float32), "genre": np.zeros(3, np.int64)},
    )
    good.save(tmp_path)
    Preprocessing.load(tmp_path)
    if isinstance(content, dict):
        arrays = {k: np.array(v, dtype=object) if part == "vocabulary" else v for k, v in content.items()}
        content = {**getattr(good, part), **arrays}
    replace(good, **{part: content}).save(tmp_path)
    with pytest.raises(DataError, match=f"contains a damaged file: .*{message}"):
        Preprocessing.load(tmp_path)


@pytest.mark.parametrize("schema", ["[]", "null", '{"format": 1}', '{"format": 1, "fields": 3, "text": null}'])
def test_a_schema_of_another_kind_is_a_clear_error(schema, tmp_path):
    preprocessing_of().save(tmp_path)
    (tmp_path / "schema.json").write_text(schema)
    (tmp_path / "checksums.json").unlink()
    with pytest.raises(DataError, match="contains a damaged file: "):
        Preprocessing.load(tmp_path)


def test_a_folder_of_an_earlier_version_gives_the_same_scores(with_plm, tmp_path):
    run = shutil.copy(with_plm.checkpoint, tmp_path / "run.pth")
    kept = shutil.copytree(
        with_plm.checkpoint.with_suffix("") / "preprocessing", tmp_path / "run" / "preprocessing"
    )
    schema = json.loads((kept / "schema.json").read_text())
    for entry in schema["fields"]:
        del entry["range"]
    (kept / "schema.json").write_text(json.dumps(schema))
    (kept / "checksums.json").unlink()
    expected = load_model(with_plm.checkpoint).predict(with_plm.rows)
    np.testing.assert_array_equal(load_model(run).predict(with_plm.rows), expected)
