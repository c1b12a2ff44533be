"""Initial values of tables: those of a complete table, drawn in parts."""

import pytest
import torch
from torch import nn

from recbole_clickprompt.embeddings.initial_values import recorded_draws
from recbole_clickprompt.embeddings.table import MIN_ROWS, ShardedTable, replace_tables


class Model(nn.Module):
    def __init__(self, rows, width, init):
        super().__init__()
        self.table = nn.Embedding(rows, width)
        self.genres = nn.Embedding(MIN_ROWS - 1, width)
        init(self.table.weight.data)
        self.layer = nn.Linear(3, 2)


@pytest.fixture(params=[nn.init.xavier_normal_, nn.init.xavier_uniform_])
def init(request):
    return request.param


def both(rows, width, init):
    """A model with complete tables, and one whose large table is sharded, of the same seed."""
    torch.manual_seed(1)
    complete = Model(rows, width, init)
    torch.manual_seed(1)
    with recorded_draws() as draws:
        model = Model(rows, width, init)
    replace_tables(model, draws)
    return complete, model


# Two sizes leave fewer than the 16 numbers that torch draws at once; the table of width 7 takes several blocks
@pytest.mark.parametrize(("rows", "width"), [(100, 1), (1_048_579, 1), (300_001, 7), (123, 10)])
def test_parts_of_a_table_are_those_of_a_complete_one(rows, width, init):
    complete, model = both(rows, width, init)
    for begin, end in ((0, rows), (rows // 3, rows // 2), (rows - 1, rows)):
        drawn = list(model.table.draw.rows(begin, end))
        assert drawn[0][0] == begin
        assert torch.equal(torch.cat([values for _, values in drawn]), complete.table.weight[begin:end])


def test_all_other_weights_are_those_of_a_model_with_complete_tables(init):
    complete, model = both(1000, 4, init)
    assert torch.equal(model.layer.weight, complete.layer.weight)
    assert torch.equal(model.genres.weight, complete.genres.weight)


def test_a_table_takes_no_memory_before_it_has_rows():
    with recorded_draws():
        table = nn.Embedding(10**3, 4)
    assert table.weight.is_meta
    assert nn.Embedding(3, 2).weight.device.type == "cpu"  # outside


def test_a_table_with_other_initial_values_is_refused():
    with pytest.raises(NotImplementedError, match="fill_ of an embedding table that is sharded"):
        both(1000, 4, nn.init.ones_)


def test_a_table_without_rows_gives_zeros_but_cannot_be_trained():
    _, model = both(1000, 4, nn.init.xavier_normal_)
    assert isinstance(model.table, ShardedTable)
    assert not list(model.table.parameters())
    ids = torch.tensor([[1, 2]])
    with pytest.raises(RuntimeError, match="rows of a sharded table are not attached"):
        model.table(ids)
    assert torch.equal(model.eval().table(ids), torch.zeros(1, 2, 4))
