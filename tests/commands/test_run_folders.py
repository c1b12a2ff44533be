"""`recbole-cp runs` lists, shows and removes finished runs."""

import json
import shutil
from pathlib import Path

import pytest

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.embeddings.files import tables_folder
from recbole_clickprompt.evaluation.run_folder import open_run


@pytest.fixture
def saved(trained_runs):
    """Copies of two runs in saved/, the second one trained later."""
    files = {}
    for name, date in (("plain", "2026-01-02T03:04:05+00:00"), ("with", "2026-02-03T04:05:06+00:00")):
        original = trained_runs[name]
        files[name] = Path("saved") / original.name
        shutil.copytree(original.with_suffix(""), files[name].with_suffix(""))
        shutil.copy(original, files[name])
        change(files[name], date=date)
    Path("saved/DCNV2-pretrained-1234.safetensors").touch()
    return files


def change(checkpoint, **values):
    file = checkpoint.with_suffix("") / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def files_below(folder="."):
    return {str(path) for path in Path(folder).rglob("*")}


def listed(capsys, *arguments):
    assert main(["runs", *arguments]) == 0
    header, _, *rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_runs_of_a_folder_are_listed_newest_first(saved, capsys):
    change(saved["plain"], command=["recbole-cp", "run", "--model=DCNV2"])
    latest, first = listed(capsys)
    assert [latest["run"], first["run"]] == [str(saved[name].with_suffix("")) for name in ("with", "plain")]
    assert [latest["model"], first["model"]] == ["ClickPrompt with PLM (DCNV2)", "DCNV2"]
    info = open_run(saved["plain"]).info
    assert first["test AUC"] == f"{info['test_result']['auc']:.4f}"
    assert first["validation AUC"] == f"{info['best_valid_score']:.4f}"
    assert (first["data set"], first["backbone"], first["seed"]) == ("tiny", "DCNV2", "2020")
    assert first["date"].startswith("2026-01-0")  # in the time zone of this machine
    assert first["command"] == "recbole-cp run --model=DCNV2"


def test_a_score_that_is_no_auc_is_listed_with_its_name(saved, capsys):
    settings = open_run(saved["with"]).info["settings"]
    change(saved["with"], settings={**settings, "valid_metric": "LogLoss"}, best_valid_score=0.5, date=None)
    assert listed(capsys)[0]["validation AUC"] == "0.5000 (LogLoss)"  # newest, by the time of its run.json


def test_a_damaged_run_is_reported_and_the_others_are_listed(saved, capsys, caplog):
    (saved["with"].with_suffix("") / "run.json").write_text("{")
    assert [row["model"] for row in listed(capsys, "list", "--folder=saved")] == ["DCNV2"]
    assert "run.json is damaged" in caplog.text


def test_show_prints_result_command_and_settings(saved, capsys):
    assert main(["runs", "show", str(saved["plain"])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"checkpoint  {saved['plain']}" in lines
    assert f"test        auc {open_run(saved['plain']).info['test_result']['auc']:.4f}" in "\n".join(lines)
    assert "embedding_size: 8" in lines


def test_rm_removes_folder_and_checkpoint_and_nothing_else(saved, capsys):
    other = files_below() - files_below(saved["plain"].with_suffix(""))
    folder = saved["plain"].with_suffix("")
    assert main(["runs", "rm", str(folder), str(saved["plain"])]) == 0
    assert files_below() == other - {str(saved["plain"]), str(folder)}
    assert capsys.readouterr().out.splitlines() == [f"removed {folder}", f"removed {saved['plain']}"]


def test_rm_removes_sharded_tables_too(saved):
    tables = tables_folder(saved["plain"])
    tables.mkdir()
    (tables / "a-00000.safetensors").touch()
    assert main(["runs", "rm", str(saved["plain"])]) == 0
    assert not tables.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda other: other.mkdir(), "is not the folder of a finished run: run.json is missing"),
        (lambda other: None, "does not exist"),
        (lambda other: other.symlink_to(Path("saved/first").resolve()), "is a link to a run"),
        (
            lambda other: shutil.copytree("saved/first", other) and (other / "mine.txt").touch(),
            "contains mine.txt",
        ),
        (
            lambda other: shutil.copytree("saved/first", other) and (other / "preprocessing" / "mine.txt").touch(),
            "contains preprocessing/mine.txt",
        ),
        (
            lambda other: shutil.copytree("saved/first", other) and (other / "backup.partial").mkdir(),
            "contains backup.partial",
        ),
    ],
)
def test_nothing_is_removed_if_one_argument_is_no_run(saved, capsys, make, message):
    saved["plain"].with_suffix("").rename("saved/first")
    make(Path("other"))
    before = files_below()
    assert main(["runs", "rm", "saved/first", "other"]) == 2
    assert message in capsys.readouterr().err
    assert files_below() == before


def test_rm_of_a_copied_folder_leaves_the_checkpoint_of_the_original(saved):
    shutil.copytree(saved["plain"].with_suffix(""), "saved/copy")
    assert main(["runs", "rm", "saved/copy"]) == 0
    assert saved["plain"].is_file()
    assert not Path("saved/copy").exists()


def test_rm_of_a_renamed_folder_removes_its_checkpoint(saved):
    saved["plain"].with_suffix("").rename("saved/renamed")
    assert main(["runs", "rm", "saved/renamed"]) == 0
    assert not saved["plain"].exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folder=nowhere"], "there is no folder nowhere; give the checkpoint_dir"),
        (["list", "saved"], "runs list takes no run, got saved"),
        (["show"], "runs show takes one run, got 0"),
        (["rm"], "runs rm takes one or more runs, got 0"),
        (["rm", "saved", "--folder=saved"], "--folder has no effect for runs rm"),
        (["show", "--num_prompts=2"], "unrecognized argument --num_prompts=2"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message, capsys):
    assert main(["runs", *arguments]) == 2
    assert message in capsys.readouterr().err
