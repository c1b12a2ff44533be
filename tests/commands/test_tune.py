"""Searches on ``tiny``: shared pretraining, failures, files, and going on after an interruption."""

import math
from pathlib import Path

import pandas as pd
import pytest
import yaml
from recbole.config import Config

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import DataError, SettingError, StorageError, WeightsError
from recbole_clickprompt.host.properties import find_file
from recbole_clickprompt.methods.registry import methods
from recbole_clickprompt.tuning import trials as trials_module
from recbole_clickprompt.tuning.space import Draw, read_space
from tests.conftest import SHORT, slow_but


def write(name="search.yaml", **content):
    Path(name).write_text(yaml.safe_dump(content, sort_keys=False))
    return name


@pytest.fixture
def objective(monkeypatch):
    """A trial that takes no time: the score is best at a learning rate of 0.01 and 8 dimensions."""
    seen = []

    def score(config):
        seen.append(config)
        if config.get("embedding_size") == 13:
            raise RuntimeError("unlucky\n|size|")
        value = 0.9 - abs(math.log10(config.get("learning_rate", 0.01)) + 2) / 10
        value -= 0.01 * (config.get("embedding_size", 8) != 8)
        return {
            "best_valid_score": value,
            "valid_score_bigger": True,
            "valid_auc": value,
            "test_result": {"auc": value - 0.1},
        }

    monkeypatch.setattr(trials_module, "objective_function", score)
    return seen


def best_in(out):
    """The settings that were printed as the best."""
    return yaml.safe_load(out.rpartition("by validation;")[2].partition("\n\n")[2])


SETTINGS = {"model": "DNN", "dataset": "tiny", "gpu_id": ""}


def test_trials_of_clickprompt_share_pretraining_and_keep_files_of_their_own(small, capsys):
    settings = {**small, **SHORT, "dataset": "tiny", "epochs": 1, "backbone": "DNN", "plm_num_layers": 1}
    write(settings=settings, space={"learning_rate": "choice [1e-4, 1e-2]"})
    assert main(["tune", "search.yaml"]) == 0
    table = pd.read_csv("results/search-tiny.csv")
    assert {"valid_auc", "valid_logloss", "test_auc", "test_logloss", "minutes"} <= set(table.columns)
    assert table["learning_rate"].tolist() == [1e-4, 1e-2] or table["learning_rate"].tolist() == [1e-2, 1e-4]
    assert (table["valid_score"] == table["valid_auc"]).all()
    assert table["error"].isna().all()
    assert len(list(Path("saved").glob("*-pretrained-*.safetensors"))) == 1
    assert len(list(Path("saved").glob("ClickPrompt-*.pth"))) == 2
    assert best_in(capsys.readouterr().out) == {
        "learning_rate": table.sort_values("valid_auc")["learning_rate"].iloc[-1]
    }


@pytest.mark.parametrize("algorithm", ["exhaustive", "random", "bayes"])
def test_a_failing_trial_is_recorded_and_the_search_goes_on_and_can_be_interrupted(objective, algorithm, capsys):
    space = {"embedding_size": "choice [4, 8, 13]", "mlp_hidden_size": "choice [[8], [8, 8]]"}
    if algorithm != "exhaustive":
        space["learning_rate"] = "loguniform -9, -2"
    file = write(settings=SETTINGS, space=space, algorithm=algorithm, max_evals=12, seed=5)
    assert main(["tune", file]) == 0
    table = pd.read_csv("results/search-tiny.csv")
    assert len(table) == (6 if algorithm == "exhaustive" else 12) == len(objective)
    failed = table[table["embedding_size"] == 13]
    assert len(failed) >= 1
    assert set(failed["error"]) == {"RuntimeError: unlucky |size|"}
    assert failed["valid_score"].isna().all()
    assert table.loc[table["embedding_size"] != 13, "error"].isna().all()
    out = capsys.readouterr().out
    assert "RuntimeError: unlucky /size/ |" in out  # a bar would be a column of its own
    assert best_in(out)["embedding_size"] == 8
    # as if it had been interrupted: the rest is run, and is the same as without the interruption
    table.iloc[:3].to_csv("results/search-tiny.csv", index=False)
    assert main(["tune", file]) == 0
    assert len(objective) == 2 * len(table) - 3
    pd.testing.assert_frame_equal(pd.read_csv("results/search-tiny.csv"), table, check_dtype=False)


def test_the_command_line_can_ask_for_fewer_trials(objective, capsys):
    write(settings=SETTINGS, space={"learning_rate": "loguniform -9, -5"}, algorithm="random", max_evals=12)
    assert main(["tune", "search.yaml", "--max_evals=2"]) == 0
    assert len(objective) == 2
    assert main(["tune", "search.yaml", "--max_evals=0"]) == 2
    assert "max_evals must be an integer from 1, got 0" in capsys.readouterr().err


def test_values_are_drawn_as_their_kind_says(objective):
    space = {"learning_rate": "loguniform -9,-2", "train_batch_size": "quniform (64, 256, 64)"}
    space["dropout_prob"] = "uniform 0, 0.5"
    write(settings=SETTINGS, space=space, algorithm="random", results="r/t.parquet")
    assert main(["tune", "search.yaml", "--weight_decay=0.1"]) == 0
    table = pd.read_parquet("r/t.parquet")
    assert len(table) == 20
    assert {config["train_batch_size"] for config in objective} == {64, 128, 192, 256}
    assert all(type(config["train_batch_size"]) is int for config in objective)
    assert all(math.exp(-9) <= config["learning_rate"] <= math.exp(-2) for config in objective)
    assert all(0 <= config["dropout_prob"] <= 0.5 for config in objective)
    assert {config["weight_decay"] for config in objective} == {0.1}
    assert {(config["model"], config["backbone"]) for config in objective} == {("ClickPromptNoPLM", "'DNN'")}


def test_a_search_without_progress_ends_early_also_where_the_first_trials_fail(objective):
    space = {"embedding_size": "choice [13, 13, 13, 8]"}
    write(settings=SETTINGS, space=space, algorithm="random", max_evals=200, early_stop=15, seed=1)
    assert main(["tune", "search.yaml"]) == 0
    assert len(objective) == 2  # equal trials are run once
    assert len(pd.read_csv("results/search-tiny.csv")) == 2


@pytest.mark.parametrize("error", [DataError, WeightsError, StorageError, OSError])
def test_a_trial_that_fails_because_of_files_is_run_again(objective, monkeypatch, error, capsys):
    def fail(config):
        raise error("a full disk")

    write(settings=SETTINGS, space={"embedding_size": "choice [8]"})
    with monkeypatch.context() as patch:
        patch.setattr(trials_module, "objective_function", fail)
        assert main(["tune", "search.yaml"]) == 2
    assert "a full disk" in capsys.readouterr().err
    assert main(["tune", "search.yaml"]) == 0
    assert len(objective) == 1


def test_a_search_of_failures_alone_says_so(objective, capsys):
    write(settings=SETTINGS, space={"embedding_size": "choice [13]"})
    assert main(["tune", "search.yaml"]) == 2
    assert "every trial failed, one with RuntimeError: unlucky |size|; see results/search-tiny.csv" in (
        capsys.readouterr().err
    )


def test_a_trial_that_another_process_has_run_meanwhile_counts_once_and_is_not_run_again(
    objective, monkeypatch, capsys, caplog
):
    file = write(settings=SETTINGS, space={"embedding_size": "choice [4, 8]"})
    score, others = trials_module.objective_function, []
    trials_in = lambda out: [line for line in out.splitlines() if line.startswith("|")]  # noqa: E731

    def score_beside_another(config):
        if not others:
            others.append(True)
            assert main(["tune", file]) == 0
            others.append(trials_in(capsys.readouterr().out))
        return score(config)

    monkeypatch.setattr(trials_module, "objective_function", score_beside_another)
    assert main(["tune", file]) == 0
    assert len(others[1]) == 4
    assert trials_in(capsys.readouterr().out) == others[1]
    assert len(objective) == 3
    assert len(pd.read_csv("results/search-tiny.csv")) == 2
    assert "another process has added this run in the meantime; its row is kept" in caplog.text


def test_a_repeated_row_of_a_trial_counts_once(objective, capsys, caplog):
    file = write(settings=SETTINGS, space={"embedding_size": "choice [4, 8]"})
    assert main(["tune", file]) == 0
    once = capsys.readouterr().out.splitlines()[-8:]
    assert "# best of 2 by validation" in "\n".join(once)
    table = pd.read_csv("results/search-tiny.csv")
    pd.concat([table, table.assign(valid_score=1.0)]).to_csv("results/search-tiny.csv", index=False)
    assert main(["tune", file]) == 0
    assert capsys.readouterr().out.splitlines()[-8:] == once
    assert "2 rows repeat the digest of one above them, 2 with other values" in caplog.text


def test_recboles_hyper_file_is_read_without_running_anything_in_it(objective, tmp_path):
    Path("hyper.test").write_text("learning_rate choice [0.1,0.01]\n\nembedding_size choice [4, 8]\n")
    write(settings=SETTINGS, space="hyper.test")
    assert main(["tune", "search.yaml"]) == 0
    assert len(objective) == 4
    mkdir = f"__import__('os').mkdir('{tmp_path}/ran')"
    Path("evil.test").write_text(f"learning_rate choice [{mkdir!r}, 0.1]\n")
    (draw,) = read_space("evil.test", Path("f"))
    assert draw.values == (mkdir, 0.1)
    Path("evil.test").write_text("learning_rate choice [!!python/object/apply:os.getcwd []]\n")
    with pytest.raises(SettingError, match="evil.test: learning_rate: .* is not a list"):
        read_space("evil.test", Path("f"))
    Path("evil.test").write_text(f"learning_rate choice [{mkdir!r}]\n")
    assert main(["tune", write("evil.yaml", settings=SETTINGS, space="evil.test")]) == 2
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("line", "algorithm"),
    [("learning_rate choice [0.1,0.01]", "exhaustive"), ("learning_rate uniform 0.01,0.1", "random")],
)
def test_a_hyper_file_is_a_search_by_itself(objective, capsys, line, algorithm):
    Path("hyper.test").write_text(f"{line}\n\nembedding_size choice [4, 8]\n")
    command = ["tune", "hyper.test", "--model=DNN", "--dataset=tiny", "--gpu_id=''"]
    assert main(command) == 0
    assert len(objective) == (4 if algorithm == "exhaustive" else 20)
    assert {"learning_rate", "embedding_size"} == set(best_in(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "hyper.test cannot be read"), (b"a choice [1]\na choice [2]\n", "a is there twice")],
)
def test_a_damaged_hyper_file_is_refused(capsys, content, message):
    Path("hyper.test").write_bytes(content)
    assert main(["tune", "hyper.test"]) == 2
    assert message in capsys.readouterr().err


def test_bounds_of_loguniform_that_are_no_powers_are_reported(caplog):
    read_space({"learning_rate": "loguniform 1e-4, 1e-2"}, Path("f.yaml"))
    (line,) = caplog.messages
    assert "draws from 1 to 1.01; for 0.0001 to 0.01 write loguniform -9.21, -4.605" in line
    caplog.clear()
    read_space({"a": "loguniform -8, 0", "b": "loguniform 3, 6"}, Path("f.yaml"))
    assert caplog.messages == []


def test_a_draw_gives_numbers_of_its_kind():
    (draw,) = read_space({"x": "quniform 0.5, 2, 0.5"}, Path("f"))
    assert draw == Draw("x", "quniform", (0.5, 2, 0.5))
    assert draw.value(1.0) == 1.0
    assert list(Draw("x", "loguniform", (-1, 0)).bounds()) == [math.exp(-1), 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spaces": {}}, "search.yaml: unknown key spaces of a tuning file; did you mean space?"),
        ({"space": None}, "space is missing"),
        ({"space": {}}, "space must map settings to texts such as `choice [8, 16]`, got {}"),
        ({"space": "nowhere.hyper"}, "there is no file nowhere.hyper"),
        ({"space": {"embedding_size": "chioce [8]"}}, "must begin with one of choice, .*; did you mean choice?"),
        ({"space": {"embedding_size": "choice [8"}}, "embedding_size: '[8' is not a list"),
        ({"space": {"embedding_size": "choice"}}, "choice needs one or more values, got ''"),
        ({"space": {"dropout_prob": "uniform 0"}}, "uniform needs 2 values, got '0'"),
        ({"space": {"dropout_prob": "uniform 1, 0"}}, "uniform needs numbers, the lower one first, got '1, 0'"),
        ({"space": {"dropout_prob": "uniform a, b"}}, "uniform needs numbers"),
        ({"space": {"epochs": "quniform 1, 9, 0"}, "algorithm": "bayes"}, "the step of quniform must be above 0"),
        ({"space": {"dropout_prob": "uniform 0, 0.5"}}, "accepts only choices, but dropout_prob has a range"),
        (
            {"space": {"embeding_size": "choice [8]"}},
            "space: embeding_size is not a setting .*did you mean embedding_size",
        ),
        (
            {"space": {"embedding_size": "choice [8, 0]"}},
            "space: embedding_size must be an integer, 1 or more, got 0",
        ),
        (
            {"space": {"gpu_id": "choice ['']"}},
            "gpu_id is both in settings (or on the command line) and in space; leave one",
        ),
        ({"algorithm": "grid"}, "algorithm must be one of exhaustive, random, bayes, got 'grid'"),
        (
            {"space": {"valid_metric": "choice [AUC, LogLoss]"}},
            "of different metrics (AUC, LogLoss) cannot",
        ),
        (
            {"space": {"learning_rate": "loguniform -5, 800"}, "algorithm": "random"},
            "learning_rate: the bounds of loguniform are powers of e, at most 700, got '-5, 800'",
        ),
        ({"space": {"epochs": f"uniform 1, {10**400}"}, "algorithm": "random"}, "uniform needs numbers"),
        (
            {"space": {"embedding_size": "choice [8, 16]", "dropout_prob": "choice [0.1, 0.2]"}, "max_evals": 3},
            "max_evals is 3, but an exhaustive search runs all 4 combinations; leave it out, or",
        ),
        ({"results": "/proc/t.csv"}, "/proc/t.csv cannot be written: "),
        ({"max_evals": 0}, "max_evals must be an integer from 1, got 0"),
        ({"seed": None}, "seed must be an integer from 0, got None"),
        ({"settings": [1]}, "settings must be a dict"),
        ({"runs": {"plain": {}}}, "search.yaml is a grid file, which `recbole-cp grid search.yaml` runs"),
        ({"settings": {**SETTINGS, "model": "DCNV"}}, "did you mean DCNV2?"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_runs(objective, change, message, capsys):
    write(**{"settings": SETTINGS, "space": {"embedding_size": "choice [8]"}, **change})
    assert main(["tune", "search.yaml"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    before, _, behind = message.partition(".*")
    assert before in error
    assert behind in error
    assert objective == []
    assert not Path("results").exists()


@pytest.mark.parametrize("key", ["space", "algorithm", "early_stop"])
def test_keys_of_the_file_are_refused_on_the_command_line(objective, key, capsys):
    write(settings=SETTINGS, space={"embedding_size": "choice [8]"})
    assert main(["tune", "search.yaml", f"--{key}=random"]) == 2
    assert (
        f"error: --{key}: only a .yaml file can set {key}; see `recbole-cp tune --help`" in capsys.readouterr().err
    )
    assert objective == []


def test_a_missing_file_is_refused(capsys):
    assert main(["tune", "nowhere.yaml"]) == 2
    assert "there is no tuning file nowhere.yaml" in capsys.readouterr().err


def test_without_hyperopt_one_line_says_what_to_install(objective, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "hyperopt", None)
    assert main(["tune", write(settings=SETTINGS, space={"embedding_size": "choice [8]"})]) == 2
    assert "tuning needs hyperopt: pip install 'recbole-clickprompt[tune]'" in capsys.readouterr().err
    with pytest.raises(SettingError):
        read_space(None, Path("f"))


@pytest.mark.parametrize(
    ("name", "trials"),
    slow_but(
        [("tune-with-plm", 4), ("tune-history", 20)],
        [
            ("tune-plain", 40), ("tune-no-plm", 24), ("tune-with-plm", 4), ("tune-history", 20),
            ("tune-flip", 24), ("tune-p5", 12), ("tune-kar", 40), ("tune-qarmlike", 40), ("tune-llactr", 40),
            ("tune-sukd-like", 20), ("tune-numbert-like", 20), ("tune-bert4ctr-like", 20),
            ("tune-charmatch-like", 20), ("tune-print-repaired", 20), ("tune-ctrbert", 20), ("tune-ctrl", 24),
            ("tune-ptab", 20), ("tune-msd", 40), ("tune-msd-vectors", 40),
            ("tune-history-recipe", 20), ("tune-few-labels", 20), ("tune-few-rows", 10),
        ],
    ),
)  # fmt: skip
def test_the_shipped_searches_hold_possible_settings(objective, name, trials):
    assert main(["tune", f"evidence/{name}.yaml"]) == 0
    assert len(objective) == trials
    assert all(1e-4 < config["learning_rate"] < 3e-2 for config in objective)
    Config(config_dict={**objective[-1], "gpu_id": ""})


def test_every_method_of_the_package_has_a_search():
    files = find_file("evidence/tune-plain.yaml", "tuning file").parent.glob("tune-*.yaml")
    searched = {yaml.safe_load(file.read_text("utf-8"))["settings"]["model"] for file in files}
    assert searched >= {m.name for m in methods() if type(m).__module__.startswith("recbole_clickprompt.")}
