"""Fields that only language models read."""

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.base import feature_names
from recbole_clickprompt.errors import DataError
from recbole_clickprompt.serving import load_model
from tests.serving.conftest import train, with_features  # noqa: F401 - a fixture

TEXT_ONLY = ["title", "genre", "device"]  # a whole text, a list and a field of rows


def features(config, make_data):
    dataset = make_data(config)[0]._dataset
    return dataset, set(feature_names(build_backbone(config, dataset).model))


def test_they_are_in_the_text_and_no_features(make_config, make_data):
    whole = {"whole_text_fields": ["title", "genre"]}  # a list is one value in both
    dataset, with_text = features(make_config(**whole), make_data)
    other, without = features(make_config(text_only_fields=TEXT_ONLY), make_data)
    assert with_text - without == set(TEXT_ONLY)
    rows = torch.arange(50)
    for row in range(50):
        ours = {name: int(column[row]) for name, column in other[rows].interaction.items() if column.ndim == 1}
        theirs = {name: int(column[row]) for name, column in dataset[rows].interaction.items() if column.ndim == 1}
        assert other.textualizer().sentence(ours) == dataset.textualizer().sentence(theirs)


@pytest.mark.parametrize("model", ["ClickPrompt", "ClickPromptNoPLM"])
def test_a_served_model_reads_them_as_in_training(model, train):  # noqa: F811
    run = train(model, text_only_fields=TEXT_ONLY)
    served = load_model(run.checkpoint)
    np.testing.assert_allclose(served.predict(run.rows), run.scores, atol=1e-6, rtol=0)
    new = with_features(run.rows).assign(item_id="new")
    scores = served.predict(new), served.predict(new.assign(title="Another Sunny Road", genre="Drama"))
    assert (model == "ClickPrompt") == (not np.allclose(*scores, atol=1e-7))


def test_a_text_of_rows_need_not_be_given_where_nothing_reads_it(train):  # noqa: F811
    run = train("ClickPromptNoPLM", text_only_fields=TEXT_ONLY)
    rows: pd.DataFrame = run.rows.drop(columns="device")
    np.testing.assert_allclose(load_model(run.checkpoint).predict(rows), run.scores, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"text_only_fields": ["plot"]}, "text_only_fields names 'plot'"),
        ({"text_only_fields": ["item_id"]}, "an id or a number"),
        ({"text_only_fields": ["timestamp"]}, "an id or a number"),
        ({"text_only_fields": ["title"], "text_fields": {"user_id": "user"}, "value_labels": {}}, "text_fields"),
    ],
)
def test_what_cannot_be_text_alone_is_refused(make_config, make_data, settings, words):
    with pytest.raises(DataError, match=words):
        make_data(make_config(**settings))
