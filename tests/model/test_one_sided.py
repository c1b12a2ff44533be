"""Rows that show the backbone one side alone."""

import pytest
import torch

from recbole_clickprompt.model.one_sided import OneSided
from recbole_clickprompt.model.parts import build_pamlm

USER, ITEM = {"user_id", "gender", "age", "job"}, {"item_id", "title", "year", "genre"}


@pytest.fixture(scope="module")
def rows(make_config, make_data):
    dataset = make_data(make_config())[0]._dataset
    return dataset, dataset[torch.arange(len(dataset))]


def hidden(rows, names):
    """Rows whose columns of these names are all 0."""
    columns = [rows[name].reshape(len(rows), -1) for name in rows.interaction if name in names]
    return (torch.cat([column.float() for column in columns], dim=1) == 0).all(1)


def test_of_each_chosen_row_one_side_is_hidden_whole_and_nothing_else(rows):
    dataset, whole = rows
    torch.manual_seed(0)
    shown = OneSided.of(0.5, dataset)(whole)
    without_user, without_item = hidden(shown, USER), hidden(shown, ITEM)
    assert not (without_user & without_item).any()
    assert without_user.float().mean() == pytest.approx(0.25, abs=0.06)
    assert without_item.float().mean() == pytest.approx(0.25, abs=0.06)
    for name, column in whole.interaction.items():
        at = without_user if name in USER else without_item if name in ITEM else torch.zeros(len(whole)).bool()
        assert torch.equal(shown[name][~at], column[~at]), name
    assert not hidden(whole, USER).any()  # what came in is as it was
    assert not hidden(whole, ITEM).any()


def test_a_ratio_of_1_leaves_no_row_whole(rows):
    dataset, whole = rows
    shown = OneSided.of(1.0, dataset)(whole)
    assert (hidden(shown, USER) ^ hidden(shown, ITEM)).all()


def test_rows_are_hidden_in_training_and_never_where_pretraining_is_measured(make_config, rows):
    dataset, whole = rows
    model = build_pamlm(make_config(one_sided_ratio=1.0), dataset)
    assert build_pamlm(make_config(), dataset).one_sided is None
    for training in (True, False):
        parts = [part.interaction for part, _ in model.train(training).split(whole[torch.arange(40)], 16)]
        assert all((hidden(part, USER) ^ hidden(part, ITEM)).all() for part in parts) is training
        assert any(hidden(part, USER).any() for part in parts) is training
