"""The card of a published model says what its run recorded and what is in the folder."""

import json
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard

from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.plm.origin import origin_of
from recbole_clickprompt.serving.publish import publish


@pytest.fixture
def card(method_run, tmp_path):
    """A function of a method that returns the card of its published run."""

    def make(method, **options):
        publish(method_run(method), tmp_path / method, **options)
        return ModelCard((tmp_path / method / "README.md").read_text())

    return make


def test_the_front_matter_is_read_by_the_hubs_library(card, method_run):
    data = card("ClickPromptNoPLM", license="cc-by-4.0").data
    assert data.license == "cc-by-4.0"
    assert data.library_name == "recbole-clickprompt"
    assert "ClickPromptNoPLM" in data.tags
    recorded = open_run(method_run("ClickPromptNoPLM")).info["test_result"]
    assert {result.metric_type: result.metric_value for result in data.eval_results} == recorded
    assert {result.dataset_name for result in data.eval_results} == {"tiny"}


def test_the_license_is_the_users_to_name(card):
    found = card("CTRL")
    assert "license" not in found.data.to_dict()
    assert "License of this model: not stated by the publisher." in found.text


def test_rows_metrics_and_command_are_those_of_the_run(card, method_run):
    run, text = open_run(method_run("MSD")), card("MSD").text
    counts, test = run.train_counts(), run.predictions("test")
    trained = counts[counts["kind"] == "user"]
    unseen = f"{(~test['user'].isin(trained['token'])).mean():.1%}"
    assert f"{trained['rows'].sum():,} training rows" in text
    assert f"| test | {len(test):,} | {unseen} |" in text
    assert f"{unseen} of the test rows have a user without training rows" in text
    assert f"{run.info['test_result']['auc']:.6f}" in text
    assert "Of one run with seed 2020" in text
    assert run.info["command"][-1] in text
    settings = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert settings["history_length"] == 4
    assert "phrase_replace_rate" not in settings  # has its default
    assert "`item_id_list`" in text
    assert "Scores depend on the user's earlier clicks" in text


def test_limits_follow_from_what_the_model_reads(card):
    assert "Of new ones, the features are read, but no text." in card("ClickPromptNoPLM").text
    assert "Of new ones, the features and the text of the row are read." in card("PTab").text
    text = card("KAR").text
    assert "texts of users and items" in text
    assert "answers of a large language model (`tiny-items`)" in text
    assert "hindsight" in text


def test_weights_and_personal_data_inside_are_named(card, tiny_bert):
    frozen, trained, without = (card(method).text for method in ("KAR", "PTab", "ClickPromptNoPLM"))
    name = tiny_bert.name
    assert f"`plm/`: the language model `{name}`. Weights of it that are read are in `plm/`." in frozen
    assert "are in `model.safetensors`, as training left them" in trained
    assert f"Trained with the help of the language model `{name}`, which is not in this folder." in without
    for text in (frozen, trained, without):
        assert "holds the ids of users and items as they are in the data (`user_id`, `item_id`)" in text
        assert "`gender`, `age`, `job`" in text


def test_a_backbone_that_no_language_model_taught_names_none(without_plm, tmp_path):
    publish(without_plm.checkpoint, tmp_path / "plain")
    assert "language model" not in (tmp_path / "plain" / "README.md").read_text()


def test_known_weights_have_a_license_and_paths_stay_private(tmp_path):
    assert origin_of("minilm").license == "Apache License 2.0"
    assert origin_of("smollm2").hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "without weights of others" in origin_of("hashed").license
    snapshot = tmp_path / "models--someone--bert" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    assert origin_of(str(snapshot)) == origin_of("someone/bert")
    assert origin_of("someone/bert").license == "that of https://huggingface.co/someone/bert"
    assert origin_of(str(tmp_path)).name == tmp_path.name


def test_what_a_run_did_not_record_is_said(method_run, tmp_path):
    run = method_run("ClickPromptNoPLM")
    copied = shutil.copy(run, tmp_path / "alone.pth")
    publish(copied, tmp_path / "published")
    text = (tmp_path / "published" / "README.md").read_text()
    assert text.count("not recorded: only the checkpoint of the run was left") == 3
    assert "model-index" not in text
    shutil.copytree(run.with_suffix(""), tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["settings"]["save_predictions"] = False
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    (tmp_path / "run" / "predictions.parquet").unlink()
    shutil.copy(run, tmp_path / "run.pth")
    publish(tmp_path / "run.pth", tmp_path / "second")
    text = (tmp_path / "second" / "README.md").read_text()
    assert "training rows." in text
    assert "| test |" not in text
