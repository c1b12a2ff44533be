"""`recbole-cp compare`: searches and runs of recipes on ``tiny``, what is left out, and the advice."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.advice import Outcome, advise
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.host.properties import property_folders
from recbole_clickprompt.tuning.recipes import Recipe, plan_rounds, read_recipes

SHIPPED = property_folders()[1] / "best" / "recipes.yaml"
RESULTS = Path("results")
SEARCHED = {"learning_rate": 0.01, "embedding_size": 4}
SPACE = {"learning_rate": "loguniform -7, -4", "embedding_size": "choice [4, 8]"}


def write_recipes(space=SPACE, **recipes):
    """A list of recipes in ./props, which takes the place of the shipped one."""
    Path("props/best").mkdir(parents=True, exist_ok=True)
    for name, settings in recipes.items():
        Path(f"props/best/{name}.yaml").write_text(yaml.safe_dump({**SEARCHED, **settings}))
    content = {"recipes": {name: f"best/{name}.yaml" for name in recipes}, "with_plm": {}, "space": space}
    path = Path("props/best/recipes.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def recipes(small):
    fast = {"data_path": small["data_path"], "epochs": 1, "train_rows": 250, "gpu_id": "", "mlp_hidden_size": [8]}
    write_recipes(
        plain={**fast, "model": "DNN"},
        deep={**fast, "model": "DeepFM"},
        knowing={**fast, "model": "MSD", "backbone": "DNN", "read_answers": True, "knowledge": None},
    )


def test_recipes_are_searched_run_compared_and_explained_once(recipes, monkeypatch, capsys):
    monkeypatch.setattr("recbole_clickprompt.tuning.recipes.plan_rounds", lambda minutes, first: (3, 2))
    assert main(["compare", "tiny", "--dropout_prob=0.1"]) == 0
    out = capsys.readouterr().out
    assert "one trial of each took" in out
    assert "left out: knowing: read_answers needs a teacher's answers" in out
    (folder,) = RESULTS.glob("compare-tiny-*")
    trials = {name: pd.read_csv(folder / "trials" / f"{name}.csv") for name in ("plain", "deep")}
    for table in trials.values():
        assert len(table) == 3
        assert table["error"].isna().all()
    for name in SEARCHED:
        assert trials["plain"][name].tolist() == trials["deep"][name].tolist()
        assert trials["plain"][name][0] == SEARCHED[name]
    runs = pd.read_csv(folder / "runs.csv")
    assert runs[["run", "seed"]].to_numpy().tolist() == [["plain", 2], ["deep", 2], ["plain", 3], ["deep", 3]]
    for row in runs.itertuples():
        table = trials[row.run]
        best = table.loc[table["valid_auc"].idxmax()]
        settings = open_run(row.checkpoint).info["settings"]
        assert settings["learning_rate"] == pytest.approx(best["learning_rate"])
        assert (settings["embedding_size"], settings["dropout_prob"]) == (best["embedding_size"], 0.1)
        found = yaml.safe_load((folder / f"{row.run}.yaml").read_text())
        assert (found["backbone"], found["learning_rate"]) == (settings["backbone"], settings["learning_rate"])
        assert {"seed", "dataset", "state"}.isdisjoint(found)
    assert "| deep | 2 | 0." in out
    assert "| logistic regression | 2 | 0." in out
    assert "deep" in (folder / "report.html").read_text()
    assert out.splitlines()[-1].startswith(("train it: ", "Use "))
    # again: everything is in the tables
    saved = sorted(Path("saved").iterdir())
    assert main(["compare", "tiny", "--dropout_prob=0.1"]) == 0
    assert sorted(Path("saved").iterdir()) == saved
    assert capsys.readouterr().out.splitlines()[-1] == out.splitlines()[-1]
    assert main(["run", f"--config_files={folder / 'deep.yaml'}", "--dataset=tiny", "--seed=3"]) == 0


def test_new_items_are_compared_over_seeds_that_have_other_rows(recipes, monkeypatch, capsys):
    monkeypatch.setattr("recbole_clickprompt.tuning.recipes.plan_rounds", lambda minutes, first: (1, 2))
    monkeypatch.setattr("recbole_clickprompt.tuning.trials.Trials.minutes", lambda self: 2.0)
    assert main(["compare", "tiny", "--cold_start=item_id", "--minutes=5"]) == 0
    out = capsys.readouterr().out
    assert "took 2.0 minutes, so two rounds over 3 recipes take 12 or more, not 5; larger" in out.splitlines()[2]
    assert "| model | seeds | AUC | LogLoss | relative AUC | p |" in out
    assert "p (users)" not in out


def test_a_baseline_that_cannot_be_trained_ends_the_comparison(recipes, capsys):
    write_recipes(plain={"model": "MSD", "backbone": "DNN", "read_answers": True, "knowledge": None})
    assert main(["compare", "tiny"]) == 2
    assert "error: plain: read_answers needs a teacher's answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes=0"], "--minutes must be finite and above 0, got 0"),
        (["--minutes=nan"], "--minutes must be finite and above 0, got nan"),
        (["--minutes=inf"], "--minutes must be finite and above 0, got inf"),
        (["--seed=3"], "compare decides seed; leave out --seed"),
        (["--backbone=DNN"], "compare decides backbone; leave out --backbone"),
        (["--valid_metric=LogLoss"], "compare decides valid_metric"),
        (["--epochs"], "'--epochs' is not a setting"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(arguments, message, capsys):
    assert main(["compare", "tiny", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not RESULTS.exists()


def test_a_list_of_recipes_is_checked():
    path = write_recipes(plain={"model": "DNN"}, space={"weight_decay": "choice [0, 1]"})
    with pytest.raises(SettingError, match=r"plain.yaml: weight_decay is missing, which .*recipes.yaml searches"):
        read_recipes(path, {}, dataset="tiny", plm=False)
    for content, message in (
        ("recipes: {}\n", "with_plm must be a dict, got None"),
        ("recipes: {}\nwith_plm: {}\nspace: {}\n", "recipes is empty; its first entry is the baseline"),
        ("recipes: {}\nwith_plm: {}\nspace: {}\nseed: 1\n", "seed must be one of recipes, with_plm, space"),
    ):
        path.write_text(content)
        with pytest.raises(SettingError, match=message):
            read_recipes(path, {}, dataset="tiny", plm=False)


@pytest.mark.parametrize("name", ["a=b", "user mean"])
def test_a_recipe_has_a_name_that_tables_and_reports_can_hold(name):
    path = write_recipes(**{"plain": {"model": "DNN"}, name: {"model": "FM"}})
    with pytest.raises(SettingError, match=rf"recipes.yaml: the name of a recipe must not .*, got '{name}'"):
        read_recipes(path, {}, dataset="tiny", plm=False)


def test_recipes_and_their_space_leave_out_what_compare_decides():
    path = write_recipes(plain={"model": "DNN", "save_predictions": False})
    with pytest.raises(SettingError, match=r"plain.yaml: compare decides save_predictions; leave it out"):
        read_recipes(path, {}, dataset="tiny", plm=False)
    path = write_recipes(plain={"model": "DNN"}, space={**SPACE, "seed": "choice [1, 2]"})
    with pytest.raises(SettingError, match=r"recipes.yaml: compare decides seed; leave it out of space"):
        read_recipes(path, {}, dataset="tiny", plm=False)


def test_a_comparison_is_not_continued_with_changed_property_files(recipes, monkeypatch, capsys):
    monkeypatch.setattr("recbole_clickprompt.tuning.recipes.plan_rounds", lambda minutes, first: (1, 1))
    assert main(["compare", "tiny"]) == 0
    (table,) = RESULTS.glob("compare-tiny/runs.csv")
    recorded = table.read_text()
    Path("props/backbone").mkdir()
    file = Path("props/backbone/DeepFM.yaml")
    file.write_text("mlp_hidden_size: [4]\n")
    assert main(["compare", "tiny"]) == 2
    assert "compare-tiny has runs on data set tiny as it was before its files" in capsys.readouterr().err
    assert table.read_text() == recorded
    file.unlink()
    table.write_text("a,b\n1,2\n")
    assert main(["compare", "tiny"]) == 2
    assert "runs.csv is not a results table of this command: it has no column run" in capsys.readouterr().err


def test_the_shipped_recipes_have_every_searched_setting_and_share_their_draws():
    without = read_recipes(SHIPPED, {"weight_decay": 0.5}, dataset="tiny", plm=False)
    recipes = read_recipes(SHIPPED, {"weight_decay": 0.5}, dataset="tiny", plm=True)
    assert len(recipes.recipes) > len(without.recipes) > 3
    assert recipes.recipes[0].settings["train_stage"] == "finetune"
    for recipe in recipes.recipes:
        assert recipe.settings["weight_decay"] == 0.5
        assert set(recipe.first) == {draw.name for draw in recipes.space} == set(recipes.draw(1, seed=1))
    assert recipes.draw(3, seed=1) == recipes.draw(3, seed=1)
    assert len({recipes.draw(number, seed=1)["learning_rate"] for number in range(1, 9)}) == 8


@pytest.mark.parametrize(
    ("minutes", "first", "expected"),
    [(30, 3, (6, 4)), (30, 10, (2, 1)), (30, 20, (1, 1)), (30, 100, (1, 1)), (30, 0, (20, 5)), (600, 3, (20, 5))],
)
def test_the_time_of_the_first_trials_decides_how_many_follow(minutes, first, expected):
    trials, seeds = plan_rounds(minutes, first)
    assert (trials, seeds) == expected
    assert (trials + seeds) * first <= minutes or (trials, seeds) == (1, 1)


PLAIN, WEAK = Outcome(0.70, 0.69), Outcome(0.60, 0.65)


@pytest.mark.parametrize(
    ("recipe", "regression", "choice", "part"),
    [
        (Outcome(0.72, 0.71, 0.01), WEAK, "recipe", "Use recipe: test AUC 0.7100 against 0.6900"),
        (Outcome(0.72, 0.71, 0.20), WEAK, "plain", "not significantly better on the test rows, test AUC 0.7100"),
        (Outcome(0.72, 0.71), WEAK, "plain", "not tested: one seed"),
        (Outcome(0.72, 0.68, 0.01), WEAK, "plain", "validation rows, but significantly worse on the test rows"),
        (Outcome(0.69, 0.71, 0.01), WEAK, "plain", "no recipe is better on the validation rows"),
        (Outcome(0.72, 0.71, 0.01), Outcome(0.73, 0.72), "regression", "AUC 0.7300 against 0.7200 of the recipe"),
        # better than what remains once the recipe is rejected
        (Outcome(0.72, 0.71, 0.20), Outcome(0.71, 0.70), "regression", "0.7000 against 0.6900 on the test rows"),
        # means of validation labels that are noise
        (Outcome(0.69, 0.71, 0.01), Outcome(0.73, 0.50), "plain", "regression is better in part"),
    ],
)  # fmt: skip
def test_advice_is_chosen_on_validation_rows_and_judged_on_test_rows(recipe, regression, choice, part):
    models, trivial = {"plain": PLAIN, "recipe": recipe}, {"regression": regression}
    name, sentence = advise(models, trivial, baseline="plain")
    assert name == choice
    assert part in sentence


def test_advice_needs_no_trivial_baselines():
    assert advise({"plain": PLAIN}, {}, baseline="plain")[0] == "plain"


def test_files_of_recipes_have_plain_names_of_their_own():
    assert Recipe("vectors, of texts/é", {}, {}).file_name == "vectors-of-texts-é"
    path = write_recipes(**{"a b": {"model": "DNN"}, "a-b": {"model": "DNN"}})
    with pytest.raises(SettingError, match="'a-b' and 'a b' would write the same files"):
        read_recipes(path, {}, dataset="tiny", plm=False)
