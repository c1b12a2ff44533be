"""Qualities and costs of the runs of a grid, on ``tiny``."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.evaluation.costs import read_costs
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.registry import find_method, methods, resolve_name
from tests.conftest import SHORT
from tests.methods.msd.students import save_student

SHIPPED = Path(__file__).parents[2] / "props" / "compare.yaml"


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def file(small):
    content = {
        "settings": {**small, **SHORT, "dataset": "tiny", "epochs": 1, "backbone": "DNN"},
        "runs": {
            "plain": {"model": "DNN"},
            "layers": {"model": "ClickPrompt", "plm_interaction_layers": 1, "train_stage": "finetune"},
            "towers": {"model": "CTRBERT"},
            "codes": {"model": "QARMLike", "codebook_size": 4, "knowledge_vectors": "answers"},
            "pairs": {"model": "PRINTRepaired", "backbone": "DNN", "plm_num_layers": 1},
            "contrast": {"model": "CTRL"},
        },
        "seeds": [1],
        "baseline": "plain",
        "costs": True,
    }
    Path("compare.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return content


def test_items_that_the_sampled_training_rows_lack_do_not_hide_the_rows_of_the_others(file):
    """Values that training has not seen share one token; each known item has 16 numbers and a flag."""
    file["runs"] = {"values": {"model": "NumBERTLike", "train_rows": 40}, "plain": {"model": "DNN"}}
    Path("compare.yaml").write_text(yaml.safe_dump(file))
    assert main(["grid", "compare.yaml"]) == 0
    table = pd.read_csv("results/compare-tiny-costs.csv").set_index("run")
    assert table.loc["values", "item_bytes"] == 16 * 4 + 1


def test_a_grid_reports_costs_of_each_way_to_read_texts(file, capsys):
    assert main(["grid", "compare.yaml"]) == 0
    out = capsys.readouterr().out
    table = pd.read_csv("results/compare-tiny-costs.csv").set_index("run")
    assert list(table.index) == list(file["runs"])
    grid = pd.read_csv("results/compare-tiny.csv").set_index("run")
    for name, checkpoint in grid["checkpoint"].items():
        costs = read_costs(open_run(checkpoint).folder)
        assert (costs.parameters, costs.minutes) == (table.loc[name, "parameters"], grid.loc[name, "minutes"])
    # of 8 float32 numbers of an id; the pooled vector has 16, codes are three int64
    assert table.loc[["plain", "towers", "codes"], "item_bytes"].tolist() == [32, 64, 32 + 24]
    assert table.loc["layers", "item_bytes"] > 32 + 10 * 16 * 2  # states of more than 10 tokens in bf16
    assert table["cold_ms"].notna().tolist() == [False, True, True, True, True, False]
    assert (table["cold_ms"].dropna() > table.loc[table["cold_ms"].notna(), "warm_ms"]).all()
    # the backbone and CTRL serve the same parameters, but CTRL was trained with a language model
    assert table.loc["plain", "served_parameters"] == table.loc["contrast", "served_parameters"]
    assert table.loc["contrast", "parameters"] > 2 * table.loc["plain", "parameters"]
    assert table.loc["towers", "served_parameters"] < 0.3 * table.loc["towers", "parameters"]
    assert table["teacher_tokens"].isna().tolist() == [False, False, False, True, False, False]
    printed = {cells(line)[0]: cells(line) for line in out.splitlines() if line.startswith("| ")}
    assert printed["codes"][-2:] == ["56", "not recorded"]
    assert printed["plain"][5] == "as warm"
    assert "Costs of the runs with seed 1; times: 1 batches of 128 rows" in out
    # a report has them without restoring anything
    runs = [f"{name}={checkpoint}" for name, checkpoint in grid["checkpoint"].items()]
    assert main(["report", *runs, "--samples=5"]) == 0
    page = Path("report.html").read_text(encoding="utf-8")
    assert "Test AUC with its 95 % interval against the median time of a batch" in page
    assert f'<th scope="row">towers</th><td>{table.loc["towers", "warm_ms"]:.3f}</td>' in page
    assert "measured by recbole-cp grid." in page
    assert "Costs of the runs that recbole-cp grid has measured." in page
    # and the folder can be removed with them
    assert main(["runs", "rm", grid.loc["plain", "checkpoint"]]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": None}, "costs compares runs with a baseline; name one of the runs in baseline"),
        ({"vary": {"epochs": [1, 2]}}, "costs does not go with vary; make each combination one of the runs"),
        ({"runs": {"plain": {"model": "DNN", "save_predictions": False}}}, "leave out save_predictions: False"),
        ({"costs": 1}, "costs must be a bool, got 1"),
    ],
)
def test_a_grid_whose_costs_cannot_be_compared_is_refused_before_anything_runs(file, change, message, capsys):
    Path("wrong.yaml").write_text(yaml.safe_dump({**file, **change}, sort_keys=False))
    assert main(["grid", "wrong.yaml"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_grid_without_128_test_rows_says_so(file, capsys):
    file["settings"]["eval_args"] = {"split": {"RS": [0.9, 0.05, 0.05]}, "order": "TO", "mode": "labeled"}
    Path("short.yaml").write_text(yaml.safe_dump({**file, "runs": {"plain": {"model": "DNN"}}}))
    assert main(["grid", "short.yaml"]) == 2
    assert "plain has 60 test rows, fewer than one batch of 128" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "settings", "reads"),
    [
        ("KAR", {}, True),
        ("KAR", {"knowledge_vectors": "texts"}, False),
        ("QARMLike", {}, False),
        ("QARMLike", {"knowledge_vectors": "answers"}, True),
        ("MSD", {}, True),
        ("MSD", {"distill_epochs": 0}, False),
        ("MSD", {"distill_epochs": 0, "read_answers": True}, True),
        ("MSD", {"knowledge": None}, False),
        ("PTab", {}, False),
    ],
)
def test_the_teachers_tokens_are_a_cost_of_methods_that_learn_from_its_answers(
    make_config, model, settings, reads
):
    config = make_config(model, **settings)
    assert find_method(model).answer_files(config) == (["tiny-items"] if reads else [])


def test_the_shipped_comparison_runs_with_small_settings(small, tmp_path):
    shipped = yaml.safe_load(SHIPPED.read_text())
    models = [resolve_name(run["model"])[0] for run in shipped["runs"].values()]
    own = {method.name for method in methods() if type(method).__module__.startswith("recbole_clickprompt.")}
    assert own - set(models) == {"P5"}  # whose weights are not part of the set-up
    student = {"student": str(save_student(tmp_path / "student")), "student_num_layers": None, "lora_layers": 1}
    shared = {**small, **student, "dataset": "tiny", "distill_evaluated": 0, "baselines": False}
    shared |= {"train_rows": 64, "pretrain_rows": 64}
    short = dict.fromkeys(("epochs", "pretrain_epochs", "distill_epochs", "plm_cached_masks"), 1)
    short |= {"embedding_size": 8, "history_length": 4}
    runs = {
        name: {**run, **{key: value for key, value in short.items() if key in run}}
        for name, run in shipped["runs"].items()
    }
    settings = {**shipped["settings"], **shared, "epochs": 1}
    content = {**shipped, "runs": runs, "settings": settings, "seeds": [1]}
    Path("small.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["grid", "small.yaml"]) == 0
    for kind in ("quality", "costs"):
        assert list(pd.read_csv(f"results/small-tiny-{kind}.csv")["run"]) == list(runs)
