"""A grid on ``tiny``."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from recbole import quick_start
from recbole.config import Config

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.run_folder import open_run
from tests.conftest import ROOT, SHORT

PROPS = ROOT / "props"


@pytest.fixture
def file(small):
    content = {
        "settings": {**small, **SHORT, "dataset": "tiny", "epochs": 1, "baselines": True},
        "runs": {
            "plain": {"model": "ClickPromptNoPLM", "train_stage": "finetune"},
            "no PLM": {"model": "ClickPromptNoPLM"},
            "with PLM": {"model": "ClickPrompt"},
        },
        "vary": {"backbone": ["DNN"]},
        "seeds": [1, 2],
        "baseline": "plain",
    }
    Path("compare.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return content


def test_a_grid_runs_every_cell_shares_pretraining_and_goes_on_where_it_stopped(file, monkeypatch, capsys):
    runs, original = [], quick_start.run_recbole

    def run(config_dict):
        if len(runs) == 4 and not Path("go on").exists():
            raise KeyboardInterrupt
        runs.append(config_dict)
        return original(config_dict=config_dict)

    monkeypatch.setattr(quick_start, "run_recbole", run)
    assert main(["grid", "compare.yaml"]) == 130
    assert len(pd.read_csv("results/compare-tiny.csv")) == 4
    Path("go on").touch()
    assert main(["grid", "compare.yaml"]) == 0
    assert len(runs) == 6
    table = pd.read_csv("results/compare-tiny.csv")
    assert len(table) == 6
    assert table.groupby(["run", "backbone"]).size().unique().tolist() == [2]
    assert len(list(Path("saved").glob("*.safetensors"))) == 2  # one for each seed
    for row in table.itertuples():
        info = open_run(row.checkpoint).info
        assert (info["seed"], info["test_result"]["auc"]) == (row.seed, row.auc)
        assert info["model"] == ("ClickPrompt" if row.run == "with PLM" else "ClickPromptNoPLM")
    out = capsys.readouterr().out
    assert "| plain | DNN | 2 | 0." in out
    assert out.count("| with PLM | DNN | 2 |") == 1
    assert len(list(Path("saved").glob("*.baselines"))) == 2  # each seed draws other training rows
    infos = [open_run(checkpoint).info for checkpoint in table["checkpoint"]]
    item_mean = {info["seed"]: info["baselines"]["item mean"]["test"]["auc"] for info in infos}
    assert f"| item mean | 2 | {sum(item_mean.values()) / 2:.4f} ± " in out
    assert " % | " in out
    # once more: nothing is left to run, also of a part of the seeds
    assert main(["grid", "compare.yaml", "--seeds=[2]"]) == 0
    assert len(runs) == 6
    assert "| plain | DNN | 1 | 0." in capsys.readouterr().out
    # other commands take the table for its runs
    assert main(["metrics", "results/compare-tiny.csv", "--samples=2", "--baseline=plain, seed 2"]) == 0
    out = capsys.readouterr().out
    assert all(f"| {name}, seed {seed} | " in out for name in ("plain", "no PLM", "with PLM") for seed in (1, 2))
    assert main(["metrics", "results/nothing.csv"]) == 2
    assert "there is no table of a grid results/nothing.csv" in capsys.readouterr().err
    table.assign(checkpoint=None).to_csv("results/compare-tiny.csv", index=False)
    assert main(["metrics", "results/compare-tiny.csv"]) == 2
    assert "the run plain has no run folder" in capsys.readouterr().err


def test_results_can_be_parquet(file):
    pytest.importorskip("pyarrow")
    runs = {"plain": {"model": "DNN"}}
    Path("one.yaml").write_text(
        yaml.safe_dump({"settings": file["settings"], "runs": runs, "results": "r/one.parquet"})
    )
    assert main(["grid", "one.yaml"]) == 0
    table = pd.read_parquet("r/one.parquet")
    assert table["run"].tolist() == ["plain"]
    assert table["seed"].tolist() == [2020]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": {"": {}}, "baseline": None}, "the name of a run must be a line of text, got ''"),
        ({"runs": {"a\rb": {}}, "baseline": None}, "the name of a run must be a line of text, got 'a\\rb'"),
        ({"runs": {"x": {"dataset": "../x"}}, "baseline": None}, "dataset must be the name of a data set"),
        ({"settings": {"dataset": "tiny", "seed": 5}}, "seed is no setting of a grid; give --seeds=[...]"),
        ({"runs": {"plain": {"seed": 5}}}, "seed is no setting of a grid; give --seeds=[...]"),
        ({"runs": {"plain": {"backbone": "FM"}}}, "backbone is both under vary and in runs.plain; leave one out"),
        (
            {"runs": {"plain": {}, "other": {"dataset": "ml-100k"}}},
            "baseline: runs on different data sets (tiny, ml-100k) cannot be compared; list the",
        ),
        ({"space": {}}, "wrong.yaml is a tuning file, which `recbole-cp tune wrong.yaml` runs"),
        ({"seedz": [1]}, "unknown key seedz of a grid; did you mean seeds?"),
        ({"runs": {}}, "runs is missing"),
        ({"baseline": "other"}, "baseline must be one of plain, no PLM, with PLM, got 'other'"),
        ({"runs": {1: {"model": "DNN"}}, "baseline": 2}, "baseline must be one of 1, got 2"),
        ({"runs": {1: {}, "1": {}}, "baseline": None}, "runs has a name twice, once as a number; got 1, 1"),
        ({"vary": {"backbone": "DNN"}}, "vary.backbone must be a list of values, got 'DNN'"),
        ({"seeds": 3}, "seeds must be a list, got 3"),
        ({"seeds": []}, "seeds must be a list of at least one whole number, got []"),
        ({"seeds": [1, 2, 1]}, "seeds has a value twice, got [1, 2, 1]"),
        ({"vary": {"dropout_prob": [0, 0.0]}}, "vary.dropout_prob has a value twice, got [0, 0.0]"),
        ({"vary": {"seed": [1, 2]}}, "vary.seed: a seed is not a setting to compare; list it under seeds"),
        ({"runs": {"x": {"model": "DCNV"}}, "baseline": None}, "did you mean DCNV2?"),
        ({"vary": {"num_promts": [1]}}, "did you mean num_prompts?"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_runs(file, change, message, capsys):
    Path("wrong.yaml").write_text(yaml.safe_dump({**file, **change}, sort_keys=False))
    assert main(["grid", "wrong.yaml"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("results").exists()


def test_settings_of_every_run_are_checked_before_the_first_is_trained(file, monkeypatch, capsys):
    monkeypatch.setattr(quick_start, "run_recbole", lambda **_: pytest.fail("trained"))
    file["runs"]["last"] = {"model": "CharMatchLike", "max_text_length": 8}
    Path("compare.yaml").write_text(yaml.safe_dump(file))
    assert main(["grid", "compare.yaml"]) == 2
    assert "error: the run last: max_text_length has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["runs", "vary", "baseline", "costs"])
def test_keys_of_the_file_are_refused_on_the_command_line(file, key, capsys):
    assert main(["grid", "compare.yaml", f"--{key}=x"]) == 2
    assert (
        f"error: --{key}: only a .yaml file can set {key}; see `recbole-cp grid --help`" in capsys.readouterr().err
    )


def test_a_varied_setting_is_refused_on_the_command_line(file, capsys):
    assert main(["grid", "compare.yaml", "--backbone=FM"]) == 2
    assert "backbone is both under vary and on the command line; leave one out" in capsys.readouterr().err


def test_a_missing_grid_file_and_loose_settings_are_refused(capsys):
    assert main(["grid", "nowhere.yaml"]) == 2
    assert "there is no grid file nowhere.yaml" in capsys.readouterr().err
    assert main(["grid", "demo.yaml", "epochs=1"]) == 2
    assert "write --key=value" in capsys.readouterr().err
    assert main(["grid", "paper/table4.yaml"]) == 2
    assert "needs a data set; give --dataset=NAME" in capsys.readouterr().err


def test_settings_stack_from_base_to_command_line(file, monkeypatch):
    Path("base-tiny.yaml").write_text(
        yaml.safe_dump(
            {"settings": {"epochs": 1, "seed": 9}, "backbones": {"DNN": {"epochs": 2, "embedding_size": 2}}}
        )
    )
    content = {
        "base": "base-{dataset}.yaml",
        "settings": {"weight_decay": 0.1, "embedding_size": 3},
        "runs": {"a": {"model": "DNN"}, "b": {"model": "DCNV2", "weight_decay": 0.2}},
        "seeds": [5],
    }
    Path("g.yaml").write_text(yaml.safe_dump(content))
    seen = []

    def run(config_dict):
        seen.append(config_dict)
        return {"test_result": {"auc": 0.5, "logloss": 0.7}, "best_valid_score": 0.5}

    monkeypatch.setattr(quick_start, "run_recbole", run)
    assert main(["grid", "g.yaml", "--dataset=tiny", "--learning_rate=0.5"]) == 0
    shared = {"model": "ClickPromptNoPLM", "train_stage": "finetune", "dataset": "tiny", "learning_rate": 0.5}
    shared |= {"seed": 5, "embedding_size": 3}
    assert seen == [
        {**shared, "backbone": "DNN", "epochs": 2, "weight_decay": 0.1},
        {**shared, "backbone": "DCNV2", "epochs": 1, "weight_decay": 0.2},
    ]


@pytest.fixture
def configs(monkeypatch):
    """Of the runs that a grid starts, none of which is trained."""
    seen = []

    def run(config_dict):
        seen.append(Config(config_dict={**config_dict, "gpu_id": ""}))
        return {"test_result": {"auc": 0.5, "logloss": 0.7}, "best_valid_score": 0.5}

    monkeypatch.setattr(quick_start, "run_recbole", run)
    return seen


def test_runs_may_have_numbers_for_names(file, configs, capsys):
    content = {"settings": file["settings"], "seeds": [1, 2], "baseline": 1}
    content["runs"] = {1: {"model": "DNN"}, "2": {"model": "DCNV2"}, None: {"model": "DNN", "epochs": 3}}
    Path("g.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for _ in range(2):
        assert main(["grid", "g.yaml"]) == 0
        lines = capsys.readouterr().out.splitlines()[-3:]
        assert [line.split(" | ")[:2] for line in lines] == [["| 1", "2"], ["| 2", "2"], ["| None", "2"]]
        assert [" % | " in line for line in lines] == [False, True, True]
    assert len(configs) == 6


def test_a_plain_backbone_stays_itself_under_settings_of_all_runs(file, configs):
    content = {"settings": {**file["settings"], "backbone": "DCNV2", "train_stage": "all"}}
    content["runs"] = {"a": {"model": "DNN"}, "b": {"model": "ClickPromptNoPLM"}, "c": {"backbone": "DNN"}}
    Path("g.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["grid", "g.yaml"]) == 0
    found = [(config["model"], config["backbone"], config["train_stage"]) for config in configs]
    assert found == [
        ("ClickPromptNoPLM", "DNN", "finetune"),
        ("ClickPromptNoPLM", "DCNV2", "all"),
        ("ClickPrompt", "DNN", "all"),
    ]


def test_the_shipped_comparison_holds_possible_settings(configs, monkeypatch):
    monkeypatch.setattr("recbole_clickprompt.commands.grid_costs.methods_report", lambda results, **_: "")
    assert main(["grid", "compare.yaml", "--seeds=[2]"]) == 0
    assert {config["dataset"] for config in configs} == {"ml-100k"}
    assert [config["backbone"] for config in configs[:4]] == ["DCNV2", "DIN", "DNN", "DCNV2"]


@pytest.mark.parametrize("table", ["table2", "table3", "table4", "table5", "table9"])
def test_the_papers_grids_hold_possible_settings(table, configs):
    assert main(["grid", f"paper/{table}.yaml", "--dataset=ml-1m", "--seeds_of_test=1"]) == 2
    assert (
        main(["grid", f"paper/{table}.yaml", "--dataset=ml-1m", "--seeds=[1]", "--text_fields={user_id: user}"])
        == 0
    )
    assert {config["pretrain_batch_size"] for config in configs} == {1024}
    assert {config["embedding_size"] for config in configs} <= {32, 16}
    assert len(configs) >= 2


def shipped_grids():
    """Names of all shipped grids but those of the paper's tables, which run on any data set."""
    files = sorted(file for file in PROPS.rglob("*.yaml") if not re.fullmatch(r"table\d", file.stem))
    return [str(file.relative_to(PROPS)) for file in files if "runs" in (yaml.safe_load(file.read_text()) or {})]


@pytest.mark.parametrize("name", shipped_grids())
def test_the_shipped_grids_hold_possible_settings(name, configs, monkeypatch):
    monkeypatch.setattr("recbole_clickprompt.commands.grid_costs.methods_report", lambda results, **_: "")
    Path("props/dataset").mkdir(parents=True)
    for made in ("ml-100k-phrases", "articles", "shop"):  # by a benchmark, with the columns that the grid loads
        Path(f"props/dataset/{made}.yaml").write_text((PROPS / "dataset" / "ml-100k.yaml").read_text())
    Path("ml-1m-items.jsonl").touch()  # of a user
    assert main(["grid", name, "--seeds=[1]"]) == 0
    data_set = yaml.safe_load((PROPS / name).read_text())["settings"]["dataset"]
    assert {config["dataset"] for config in configs} == {data_set}
    assert all(isinstance(config["learning_rate"], float) for config in configs)


def test_a_setting_may_be_varied_over_lists(small, capsys):
    """As mlp_hidden_size; its values are compared within each list, in the first process and in the next."""
    runs = {"plain": {"model": "DNN"}, "wide": {"model": "DNN", "embedding_size": 16}}
    settings = {**small, "dataset": "tiny", "epochs": 1}
    vary = {"mlp_hidden_size": [[8], [4, 4]]}
    content = {"settings": settings, "runs": runs, "vary": vary, "baseline": "plain"}
    Path("lists.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for _ in range(2):
        assert main(["grid", "lists.yaml"]) == 0
        out = capsys.readouterr().out
        assert re.search(r"\| wide \| \[8\] \| 1 \|.* % \|", out)
        assert re.search(r"\| wide \| \[4, 4\] \| 1 \|.* % \|", out)


@pytest.fixture
def scored(small, monkeypatch):
    """A grid of two runs and three seeds whose AUCs are given; the seeds that were run, in order."""
    seen = []
    aucs = {"DNN": [0.70, 0.72, 0.74], "DCNV2": [0.71, 0.74, 0.75]}

    def run(config_dict):
        seen.append((config_dict["backbone"], config_dict["seed"]))
        auc = aucs[config_dict["backbone"]][config_dict["seed"] - 1]
        return {"test_result": {"auc": auc, "logloss": 0.7}, "best_valid_score": 0.5}

    monkeypatch.setattr(quick_start, "run_recbole", run)
    runs = {"plain": {"model": "DNN"}, "ours": {"model": "DCNV2"}}
    content = {"settings": {**small, "dataset": "tiny"}, "runs": runs, "seeds": [1, 2, 3], "baseline": "plain"}
    Path("g.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return seen


@pytest.mark.parametrize("doubled", [slice(0, 2), slice(4, 6), slice(0, 6)])
def test_a_repeated_row_leaves_the_p_value_as_it_was(scored, doubled, capsys, caplog):
    assert main(["grid", "g.yaml"]) == 0
    once = capsys.readouterr().out.splitlines()[-4:]
    assert once[-1].startswith("| ours | 3 | 0.7333 ± 0.0208 |")
    table = pd.read_csv("results/g-tiny.csv")
    pd.concat([table, table.iloc[doubled]]).to_csv("results/g-tiny.csv", index=False)
    assert main(["grid", "g.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == once
    assert len(scored) == 6
    (told,) = caplog.messages
    assert "repeat the digest of one above them" in told


@pytest.mark.parametrize("cut", [-18, -10, -2, -40])  # before, in and at the end of the digest; in a number
def test_a_row_that_lost_its_digest_does_not_count_and_its_run_is_run_again(scored, cut, capsys, caplog):
    assert main(["grid", "g.yaml"]) == 0
    once = capsys.readouterr().out.splitlines()[-4:]
    path = Path("results/g-tiny.csv")
    path.write_text(path.read_text()[:cut].rstrip(","))  # a crash cut off the end
    assert main(["grid", "g.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == once
    assert scored[6:] == [("DCNV2", 3)]
    assert "1 row has no digest, so its settings are unknown; it is ignored" in caplog.text


def test_rows_of_earlier_settings_in_the_table_are_not_paired(scored, capsys):
    assert main(["grid", "g.yaml", "--epochs=1"]) == 0
    once = capsys.readouterr().out.splitlines()[-4:]
    assert main(["grid", "g.yaml", "--epochs=2"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == once
    assert len(pd.read_csv("results/g-tiny.csv")) == 12


def test_the_same_grid_started_twice_at_once_counts_each_seed_once(scored, monkeypatch, capsys, caplog):
    """The other process starts while the first run is trained, and does all of them."""
    run, others = quick_start.run_recbole, []

    def run_beside_another(config_dict):
        if not others:
            others.append(True)
            monkeypatch.setattr(quick_start, "run_recbole", run)
            assert main(["grid", "g.yaml"]) == 0
            others.append(capsys.readouterr().out.splitlines()[-4:])
        return run(config_dict)

    monkeypatch.setattr(quick_start, "run_recbole", run_beside_another)
    assert main(["grid", "g.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == others[1]
    assert len(scored) == 7  # what the other one has done is not done again
    assert len(pd.read_csv("results/g-tiny.csv")) == 6
    assert "another process has added this run in the meantime; its row is kept" in caplog.text


def test_a_table_of_something_else_is_refused_before_anything_runs(scored, capsys):
    Path("results").mkdir()
    Path("results/g-tiny.csv").write_text("run,median_ms\nplain,1.5\n")
    assert main(["grid", "g.yaml"]) == 2
    assert "g-tiny.csv is not a results table of this command: it has no column seed" in capsys.readouterr().err
    assert scored == []


@pytest.mark.parametrize(
    ("seeds", "got"),
    [
        ("[2020, '2020']", "'2020'"),
        ("[1, -1]", "-1"),
        ("[1.0]", "1.0"),
        ("[true]", "True"),
        ("[null]", "None"),
        ("[[1]]", "[1]"),
        ("[4294967296]", "4294967296"),
        (f"[{10**400}]", f"1{'0' * 59}..."),
    ],
)
def test_a_seed_that_is_none_is_refused_before_anything_runs(scored, seeds, got, capsys):
    assert main(["grid", "g.yaml", f"--seeds={seeds}"]) == 2
    assert f"seeds must be whole numbers from 0 to 4294967295, got {got}\n" in capsys.readouterr().err
    assert scored == []
    assert not Path("results").exists()


def test_a_varied_number_may_be_beyond_all_floats(scored, capsys):
    content = yaml.safe_load(Path("g.yaml").read_text())
    Path("g.yaml").write_text(yaml.safe_dump({**content, "vary": {"epochs": [10**400, 10**400]}}))
    assert main(["grid", "g.yaml"]) == 2
    assert "vary.epochs has a value twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,1,x,0.5", "auc must be a number from 0 to 1, got 'x'"),
        ("a,1,1.7,0.5", "auc must be a number from 0 to 1, got '1.7'"),
        ("a,1,,0.5", "auc must be a number from 0 to 1, got an empty cell"),
        ("a,1,0.5,inf", "logloss must be a number from 0, got 'inf'"),
        ("a,one,0.5,0.5", "seed must be a number, got 'one'"),
    ],
)
def test_a_broken_row_of_the_table_is_refused_before_anything_runs(scored, row, told, capsys):
    Path("results").mkdir()
    Path("results/g-tiny.csv").write_text(
        f"run,seed,auc,logloss,digest\na,1,0.5,0.5,{'b' * 16}\n{row},{'a' * 16}\n"
    )
    assert main(["grid", "g.yaml"]) == 2
    assert f"results/g-tiny.csv, line 3: {told}; restore or remove it" in capsys.readouterr().err
    assert scored == []


@pytest.mark.parametrize("table", ["/proc/t.csv", "folder.csv"])
def test_a_table_that_cannot_be_written_is_refused_before_anything_runs(scored, table, capsys):
    Path("folder.csv").mkdir()
    content = yaml.safe_load(Path("g.yaml").read_text())
    Path("g.yaml").write_text(yaml.safe_dump({**content, "results": table}))
    assert main(["grid", "g.yaml"]) == 2
    assert f"error: {table} cannot be written: " in capsys.readouterr().err
    assert scored == []


def test_data_sets_may_be_varied(scored):
    content = yaml.safe_load(Path("g.yaml").read_text())
    del content["settings"]["dataset"]
    Path("g.yaml").write_text(yaml.safe_dump({**content, "vary": {"dataset": ["tiny", "ml-100k"]}}))
    assert main(["grid", "g.yaml"]) == 0
    assert len(pd.read_csv("results/g.csv")) == 12
