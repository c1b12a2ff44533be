"""A published folder is complete: it scores as its run, anywhere; and what is wrong with one is said."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError, WeightsError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.host.published import _decoded, _encoded
from recbole_clickprompt.methods.registry import methods
from recbole_clickprompt.plm.loading import load_plm
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.publish import publish
from tests.conftest import ROOT
from tests.methods.small_runs import OWN
from tests.serving.conftest import atomic, with_features

SUFFIXES = {".json", ".md", ".npz", ".safetensors"}


def rows_of(run, new=40):
    """Test rows of a run, then rows of new users and items with features, all with a history."""
    table = open_run(run).predictions("test")
    known = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"})
    unseen = atomic("item")[:new].assign(user_id=[f"nobody {n}" for n in range(new)], age="25", job="baker")
    unseen["item_id"] = "new " + unseen["item_id"]
    return pd.concat([known, unseen]).assign(device="phone", item_id_list="i1|i2|i3")


def files(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def published(method_run, tmp_path):
    """A function that publishes the run of a method into a folder of the test."""

    def make(method="ClickPrompt", **options):
        publish(method_run(method), tmp_path / "published", **options)
        return tmp_path / "published"

    return make


def test_all_methods_of_the_package_are_published_here():
    own = {method.name for method in methods() if type(method).__module__.startswith("recbole_clickprompt.")}
    assert own == set(OWN)


@pytest.mark.parametrize("method", OWN)
def test_scores_are_those_of_the_run(method, method_run, published):
    run = method_run(method)
    rows = rows_of(run)
    rows = rows if method in ("MSD", "PRINTRepaired") else rows.drop(columns="item_id_list")
    expected = load_model(run).predict(rows)
    assert np.ptp(expected[-40:]) > 0
    folder = published(method)
    np.testing.assert_allclose(load_model(folder).predict(rows), expected, atol=1e-6, rtol=0)
    # Nothing points to files of the run, and nothing is a pickle
    assert str(run.parents[2]) not in (folder / "config.json").read_text()
    assert {Path(name).suffix for name in files(folder)} <= SUFFIXES
    for name in files(folder):
        if name.endswith(".npz"):
            np.load(folder / name, allow_pickle=False)


def test_language_models_are_published_only_as_far_as_they_are_read(published):
    assert not any(name.startswith("plm/") for name in files(published("ClickPromptNoPLM")))
    folder = published("PTab", overwrite=True)  # its weights are those of the trained model
    assert {"plm/config.json", "plm/tokenizer.json"} <= files(folder)
    assert "plm/model.safetensors" not in files(folder)
    assert "plm/model.safetensors" in files(published("KAR", overwrite=True))  # encodes new texts


@pytest.mark.slow
def test_it_is_loaded_elsewhere_without_home_and_cache(method_run, tmp_path):
    (tmp_path / "empty").mkdir()
    empty, program = str(tmp_path / "empty"), ["import numpy, pandas, recbole_clickprompt"]
    rows = rows_of(method_run("MSD"))
    for method, left_out in (("ClickPrompt", ["item_id_list"]), ("MSD", [])):
        publish(method_run(method), tmp_path / method)
        rows.drop(columns=left_out).to_csv(f"{method}.csv", index=False)
        program += [
            f"rows = pandas.read_csv('{tmp_path / method}.csv', dtype=str)",
            f"scores = recbole_clickprompt.from_pretrained('{tmp_path / method}').predict(rows)",
            f"numpy.save('{tmp_path / method}.npy', scores)",
        ]
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "HOME": empty, "HF_HOME": empty, "XDG_CACHE_HOME": empty,
    }  # fmt: skip
    command = [sys.executable, "-c", "\n".join(program)]
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for method in ("ClickPrompt", "MSD"):
        expected = load_model(method_run(method)).predict(pd.read_csv(f"{method}.csv", dtype=str))
        np.testing.assert_allclose(np.load(f"{method}.npy"), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("amp", [False, True])
def test_with_interaction_layers_the_states_of_known_texts_are_published(amp, train, tmp_path):
    run = train("ClickPrompt", plm_interaction_layers=1, enable_amp=amp)
    publish(run.checkpoint, tmp_path / "published")
    (states,) = (tmp_path / "published").glob("states-*.safetensors")
    assert states.read_bytes() == (run.checkpoint.parent / states.name).read_bytes()
    rows = pd.concat([run.rows, with_features(run.rows).assign(item_id="new")])
    expected = load_model(run.checkpoint).predict(rows)
    (tmp_path / "published").chmod(0o555)
    try:
        scores = load_model(tmp_path / "published").predict(rows)
    finally:
        (tmp_path / "published").chmod(0o755)
    np.testing.assert_allclose(scores, expected, atol=1e-3 if amp else 1e-6, rtol=0)
    # Without checksums too, states are never computed with weights that the folder lacks
    states.unlink()
    sums = json.loads((tmp_path / "published" / "checksums.json").read_text())
    del sums[states.name]
    (tmp_path / "published" / "checksums.json").write_text(json.dumps(sums))
    with pytest.raises(WeightsError, match=f"{states.name} is missing, which holds the states of texts"):
        load_model(tmp_path / "published")


def test_a_language_model_without_its_weights_is_not_trained_from(published):
    folder = find_plm(str(published() / "plm"))
    with pytest.raises(WeightsError, match="plm has no weights: it belongs to a published model"):
        load_plm(folder, num_layers=None, dropout=None)


def test_tied_weights_are_stored_once(published, method_run):
    stored = load_file(published("P5") / "model.safetensors")
    trained = torch.load(method_run("P5"))["state_dict"]
    tied = trained.keys() - stored.keys()
    assert tied
    assert all(any(torch.equal(trained[name], other) for other in stored.values()) for name in tied)


@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "plm/config.json", "plm/weights.json", "preprocessing/schema.json"],
)
def test_a_changed_or_missing_file_is_named(name, published):
    folder = published()
    (folder / "README.md").write_text("Your own words.")
    load_model(folder)
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} (was modified|cannot be read: ).*download or publish it again"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name} (is missing|cannot be read).*download or publish it again"):
        load_model(folder)


def test_checksums_are_required_and_stay_within_the_folder(published):
    folder = published("ClickPromptNoPLM")
    sums = json.loads((folder / "checksums.json").read_text())
    for name in ("../outside", "/etc/passwd", "a//b"):
        (folder / "checksums.json").write_text(json.dumps({**sums, name: "0"}))
        with pytest.raises(DataError, match="checksums.json is damaged: it must map file names to checksums"):
            load_model(folder)
    (folder / "checksums.json").unlink()
    with pytest.raises(DataError, match="checksums.json is missing; download or publish it again"):
        load_model(folder)


CONFIGS = {
    "newer": ({"format": 2, "version": "9.0"}, "has format 2, written by recbole-clickprompt 9.0, and version"),
    "foreign": ({"library": "transformers"}, "is not a published model: config.json does not name recbole-click"),
    "damaged": ({"settings": None}, "config.json is damaged: settings must be of type dict"),
    "path": ({"language_models": {"../x": "x"}}, "language_models has other names than plm and student"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_cannot_be_read_says_why(case, published):
    change, message = CONFIGS[case]
    file = published("ClickPromptNoPLM") / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        load_model(file.parent)


def seal(folder):
    """Writes checksums that fit edited files, as a forger would."""
    from recbole_clickprompt.preprocessing.checksums import write_checksums

    write_checksums(folder, but=["README.md"])


def test_a_forged_folder_is_checked_like_a_checkpoint(published):
    folder = published()
    content = json.loads((folder / "config.json").read_text())
    settings = content["settings"]
    for change, message in (
        ({"settings": {**settings, "backbone": "x"}}, "the setting backbone in it is 'x'"),
        ({"settings": {**settings, "embedding_size": 10**9}}, "the setting embedding_size"),
        ({"model": "Other"}, "is a checkpoint of the model 'Other'"),
    ):
        (folder / "config.json").write_text(json.dumps({**content, **change}))
        seal(folder)
        with pytest.raises(WeightsError, match=message):
            load_model(folder)
    (folder / "config.json").write_text(json.dumps(content))
    described = json.loads((folder / "plm" / "weights.json").read_text())
    described["shapes"]["huge"] = [1 << 20, 1 << 20]
    (folder / "plm" / "weights.json").write_text(json.dumps(described))
    seal(folder)
    with pytest.raises(
        WeightsError, match="plm describes a language model of .* parameters, but model.safetensors"
    ):
        load_model(folder)


def test_an_existing_folder_is_replaced_on_request_alone_and_only_a_published_one(
    published, method_run, monkeypatch
):
    folder = published("ClickPromptNoPLM")
    with pytest.raises(DataError, match="published already exists; .*--overwrite"):
        published("ClickPromptNoPLM")
    monkeypatch.setattr("recbole_clickprompt.serving.publish.TOLERANCE", -1.0)
    with pytest.raises(WeightsError, match="differ from the run's by up to 0.0e"):
        published("PTab", overwrite=True)
    assert not (folder / "plm").exists()
    monkeypatch.undo()
    published("PTab", overwrite=True)
    assert (folder / "plm").is_dir()
    mine = folder.parent / "mine"
    mine.mkdir()
    (mine / "config.json").write_text('{"port": 80}')
    with pytest.raises(DataError, match="mine is no published model, and --overwrite replaces nothing else"):
        publish(method_run("PTab"), mine, overwrite=True)
    assert [path.name for path in mine.iterdir()] == ["config.json"]
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").touch()
    with pytest.raises(
        DataError, match="published also has files that publishing did not write, such as .git/HEAD"
    ):
        published("PTab", overwrite=True)
    assert (folder / ".git" / "HEAD").exists()
    assert {path.name for path in folder.parent.iterdir()} == {"published", "mine"}


def test_other_accounts_may_read_all_files_of_a_published_folder(published):
    modes = {path.stat().st_mode & 0o777 for path in published("ClickPromptNoPLM").rglob("*") if path.is_file()}
    assert len(modes) == 1


def test_only_runs_are_published(published, tmp_path):
    with pytest.raises(DataError, match="is a published model or an export, not a run"):
        publish(published("ClickPromptNoPLM"), tmp_path / "again")
    with pytest.raises(WeightsError, match=r"there is no file .*none.pth"):
        publish(Path("none.pth"), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_settings_keep_keys_that_are_numbers():
    settings = {"groups": {0: ["a"], 1: []}, "labels": {"age": {1.5: "x", True: None}}, "sizes": (1, 2)}
    assert _decoded(json.loads(json.dumps(_encoded(settings)))) == {**settings, "sizes": [1, 2]}


def test_the_commands_take_it(published, method_run, tmp_path, capsys):
    folder = tmp_path / "served"
    assert main(["publish", str(method_run("ClickPromptNoPLM")), str(folder), "--license=mit"]) == 0
    out = capsys.readouterr().out
    assert "model.safetensors" in out
    assert "largest difference to the run's scores: 0.0e+00" in out
    rows_of(method_run("ClickPromptNoPLM")).drop(columns="item_id_list").to_csv("rows.csv", index=False)
    assert main(["predict", str(folder), "rows.csv", "-o", "scores.csv"]) == 0
    expected = load_model(method_run("ClickPromptNoPLM")).predict(pd.read_csv("rows.csv", dtype=str))
    np.testing.assert_allclose(pd.read_csv("scores.csv")["score"], expected, atol=1e-6)
    assert main(["publish", str(method_run("ClickPromptNoPLM")), str(folder)]) == 2
    assert "already exists" in capsys.readouterr().err


def test_it_is_exported_without_the_data_set(published, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    folder = published("ClickPromptNoPLM")
    assert main(["export", str(folder), "--out=exported", "--rows=50"]) == 0
    assert "largest difference to PyTorch's scores on 50 rows of known values: " in capsys.readouterr().out
    shutil.rmtree(folder)
    rows = pd.DataFrame({"user_id": ["u1"], "item_id": ["i2"], "device": ["phone"]})
    assert 0 < load_model("exported").predict(rows)[0] < 1
