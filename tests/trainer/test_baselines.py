"""The trivial baselines of a run: exact means, scikit-learn's own regression, and one computation per data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.quick_start import run_recbole
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from recbole_clickprompt.evaluation.baselines import BASELINES
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.trainer import baselines
from recbole_clickprompt.trainer.baselines import baseline_scores, fit_logistic_regression, smoothed_means
from recbole_clickprompt.trainer.one_hot import feature_fields, one_hot
from tests.conftest import ROOT, SHORT

PLAIN = {"backbone": "DNN", "train_stage": "finetune", "epochs": 1}
TINY = ROOT / "dataset_atomic" / "tiny"


def parts_of(loaders):
    train, valid, test = (loader._dataset for loader in loaders)
    return train, {"valid": valid, "test": test}


def rows_by_time():
    """All rows of tiny with their users' and items' columns, in order; a missing value is an empty text."""

    def read(suffix):
        table = pd.read_csv(TINY / f"tiny.{suffix}", sep="\t", dtype=str, keep_default_na=False)
        return table.rename(columns=lambda name: name.partition(":")[0])

    rows = read("inter").merge(read("user"), on="user_id").merge(read("item"), on="item_id")
    rows = rows[rows["rating"] != "3"].astype({"timestamp": int, "rating": int})
    return rows.sort_values("timestamp", kind="stable", ignore_index=True)


def test_means_are_smoothed_by_ten_rows_and_an_unseen_id_gets_the_mean_of_all():
    ids, label = np.array([1, 1, 2, 4]), np.array([1, 1, 0, 0])
    found = smoothed_means(ids, label, np.array([1, 2, 3, 9]))
    assert found == pytest.approx([(2 + 5) / 12, (0 + 5) / 11, 0.5, 0.5])


def test_means_of_tiny_are_those_of_its_file(make_config, make_data, tmp_path):
    train, parts = parts_of(make_data(make_config()))
    scores = baseline_scores(tmp_path, train, parts, name="tiny")
    rows = rows_by_time().assign(label=lambda table: table["rating"] >= 4)
    first = rows.iloc[: len(train)]
    for field, column in (("item_id", "baseline_item_mean"), ("user_id", "baseline_user_mean")):
        known = first.groupby(field)["label"].agg(["sum", "size"])
        mean = first["label"].mean()
        expected = (known["sum"] + 10 * mean) / (known["size"] + 10)
        found = pd.concat([scores["valid"][column], scores["test"][column]])
        assert found.tolist() == pytest.approx(rows[field].iloc[len(train) :].map(expected).fillna(mean).tolist())


def test_the_regression_is_scikit_learns_on_pandas_dummies(make_config, make_data, tmp_path):
    train, parts = parts_of(make_data(make_config(numerical_features=["year"], normalize_field=["year"])))
    assert set(feature_fields(train)) == {
        "user_id", "gender", "age", "job", "device", "item_id", "title", "year", "genre"
    }  # fmt: skip
    scores = baseline_scores(tmp_path, train, parts, name="tiny")

    rows = rows_by_time()
    year = pd.to_numeric(rows["year"])
    items = pd.to_numeric(pd.read_csv(TINY / "tiny.item", sep="\t")["year:float"])
    year = (year.fillna(items.mean()) - items.min()) / (items.max() - items.min())
    tokens = pd.get_dummies(rows[["user_id", "gender", "age", "job", "device", "item_id", "title"]], dtype=float)
    genres = rows["genre"].str.get_dummies(" ").add_prefix("genre_").astype(float)
    table = pd.concat([tokens, genres, year / year[: len(train)].max()], axis=1).to_numpy()
    label = (rows["rating"] >= 4).to_numpy(dtype=int)
    ends = np.cumsum([len(train), len(parts["valid"])])
    found = {}
    for strength in (0.1, 0.3, 1.0):
        model = LogisticRegression(C=strength, max_iter=1000).fit(table[: ends[0]], label[: ends[0]])
        predicted = model.predict_proba(table[ends[0] :])[:, 1]
        valid = len(parts["valid"])
        found[roc_auc_score(label[ends[0] : ends[1]], predicted[:valid])] = predicted
    column = BASELINES["logistic regression"]
    ours = pd.concat([scores["valid"][column], scores["test"][column]])
    assert ours.to_numpy() == pytest.approx(found[max(found)], abs=1e-6)


def test_a_sequence_counts_each_token_once_and_parts_share_columns(make_config, make_data):
    train, parts = parts_of(make_data(make_config()))
    matrices = [one_hot(dataset, ["genre", "device"]) for dataset in (train, *parts.values())]
    assert {matrix.shape[1] for matrix in matrices} == {train.num("genre") + train.num("device")}
    rows = rows_by_time()
    expected = rows["genre"].str.split().map(lambda words: len(set(words))) + 1
    assert matrices[0].sum(axis=1).A1.tolist() == expected[: len(train)].tolist()
    names = [train.field2id_token["genre"][i] for i in matrices[0][0, : train.num("genre")].indices]
    assert sorted(names) == sorted(set(rows["genre"][0].split()))


def test_a_bin_of_a_number_is_a_column(make_config, make_data):
    settings = {"numerical_features": ["year"], "discretization": {"year": {"method": "ED", "bucket": 3}}}
    train, _ = parts_of(make_data(make_config(**settings)))
    matrix = one_hot(train, ["year"])
    assert matrix.shape == (len(train), 4)
    assert set(matrix.data) == {1.0}
    assert set(matrix.indices) == {1, 2, 3}


def test_labels_of_one_class_are_the_score():
    features = csr_matrix(np.eye(3))
    found = fit_logistic_regression((features, np.ones(3, dtype=np.int8)), None, {"test": features[:2]})
    assert found["test"].tolist() == [1.0, 1.0]


def test_runs_on_the_same_rows_share_one_computation(make_config, make_data, tmp_path, monkeypatch, caplog):
    train, parts = parts_of(make_data(make_config()))
    first = baseline_scores(tmp_path, train, parts, name="tiny")
    (file,) = tmp_path.glob("tiny-*.baselines")

    with monkeypatch.context() as patch:
        patch.setattr(baselines, "_compute", lambda *_: pytest.fail("computed again"))
        same = baseline_scores(tmp_path, *parts_of(make_data(make_config(learning_rate=0.5))), name="tiny")
        assert all(same[part].equals(first[part]) for part in first)
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            baseline_scores(tmp_path, *parts_of(make_data(make_config(text_only_fields=["title"]))), name="tiny")
    file.write_bytes(file.read_bytes()[:-8])
    again = baseline_scores(tmp_path, train, parts, name="tiny")
    assert "is damaged" in caplog.text
    assert all(again[part].equals(first[part]) for part in first)


def finished(small, **settings):
    given = {**small, "baselines": True, **PLAIN, **settings}
    run_recbole(model="ClickPromptNoPLM", dataset="tiny", config_dict=given)
    (checkpoint,) = Path("saved").glob("*.pth")
    return open_run(checkpoint)


def test_a_run_that_a_baseline_beats_says_so(small, caplog):
    with caplog.at_level("WARNING"):
        run = finished(small, learning_rate=1e-9)
    valid = run.predictions("valid")
    found = {name: roc_auc_score(valid["label"], valid[column]) for name, column in BASELINES.items()}
    assert found == pytest.approx({name: splits["valid"]["auc"] for name, splits in run.info["baselines"].items()})
    best = max(found, key=found.get)
    own = roc_auc_score(valid["label"], valid["score"])
    assert own < found[best]
    assert (
        f"{best.capitalize()} beats DNN on the validation rows: AUC {found[best]:.4f} against {own:.4f}."
        in caplog.messages
    )


def test_baselines_can_be_left_out(small):
    run = finished(small, baselines=False)
    assert run.info["baselines"] == {}
    assert not set(BASELINES.values()) & set(run.predictions().columns)
    assert not list(Path("saved").glob("*.baselines"))


def test_the_baselines_are_fitted_on_the_rows_of_the_model(small, make_config, make_data):
    run = finished(small, **SHORT, save_predictions=False, train_negatives=0.5)  # corrected for by the model
    train, parts = parts_of(make_data(make_config("ClickPromptNoPLM", **PLAIN)))
    label = train.inter_feat["label"]
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(2020))[: SHORT["train_rows"]]
    items = train.inter_feat["item_id"][drawn].numpy()
    test = parts["test"].inter_feat
    means = smoothed_means(items, label[drawn].numpy(), test["item_id"].numpy())
    expected = roc_auc_score(test["label"], means)
    assert run.info["baselines"]["item mean"]["test"]["auc"] == pytest.approx(expected)


def test_sequences_of_numbers_are_averaged_and_numbers_are_divided_by_the_largest(
    make_config, make_data, tmp_path
):
    folder = tmp_path / "numbers"
    folder.mkdir()
    cells = ["1.0 3.0", "", "5.0"]
    rows = [f"u{n % 3}\ti{n % 5}\t{n % 2}\t{n}\t{cells[n % 3]}\t{n * 1e30:g}" for n in range(40)]
    header = "user_id:token\titem_id:token\tlabel:float\ttimestamp:float\tscores:float_seq\tsize:float"
    (folder / "numbers.inter").write_text("\n".join([header, *rows]) + "\n")
    settings = {
        "dataset": "numbers", "data_path": str(tmp_path), "threshold": None, "load_col": None,
        "unused_col": {"inter": ["timestamp"]}, "numerical_features": ["scores", "size"],
        "text_fields": {"user_id": "user"},
    }  # fmt: skip
    train, parts = parts_of(make_data(make_config(**settings)))
    assert one_hot(train, ["scores"]).sum(axis=1).A1[:6].tolist() == [2.0, 0.0, 5.0] * 2
    assert [int(part.missing_rows["scores"].sum()) for part in (train, *parts.values())] == [11, 1, 1]
    scores = baseline_scores(tmp_path, train, parts, name="numbers")
    assert all(table.apply(lambda column: column.between(0, 1)).all(axis=None) for table in scores.values())
