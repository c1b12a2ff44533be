"""Which parameters are read, and which rows belong to an item, for models written by hand."""

import pytest
import torch
from recbole.data.interaction import Interaction
from torch import nn

from recbole_clickprompt.commands.stored_reads import StoredReads, item_bytes, read_parameters

ITEMS = 50


class Fields(nn.Module):
    """One table for users and items, as RecBole has it, with codes, a shared table of codes and unused weights."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20 + ITEMS, 4)  # 20 users, then the items
        self.codes: torch.Tensor
        self.register_buffer("codes", torch.randint(6, (ITEMS, 3), generator=torch.Generator().manual_seed(0)))
        self.code_table = nn.Embedding(6, 4)
        self.counts: torch.Tensor
        self.register_buffer("counts", torch.zeros(ITEMS))  # for training
        self.out, self.unused = nn.Linear(4, 1), nn.Linear(4, 100)

    def forward(self, rows):
        ids = torch.stack([rows["user"], rows["item"] + 20, rows["clicked"] + 20], dim=1)
        codes = self.code_table(self.codes[rows["item"]]).sum(1)
        return self.out(self.table(ids).sum(1) + codes)


@pytest.fixture
def row():
    return Interaction({name: torch.tensor([value]) for name, value in (("user", 3), ("item", 7), ("clicked", 8))})


def test_only_parameters_in_use_are_counted(row):
    model = Fields()
    count = read_parameters(model, lambda: model(row))
    assert count == sum(
        weight.numel() for part in (model.table, model.code_table, model.out) for weight in part.parameters()
    )


def test_tied_weights_and_views_are_the_parameter_itself():
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    model = nn.ModuleList([first, second])
    assert read_parameters(model, lambda: torch.ones(3) @ first.weight.detach().T) == 9
    with StoredReads(model) as reads:
        torch.ones(3).sum()
    assert reads.count(model) == 0


def test_an_item_has_its_row_of_a_shared_table_and_its_codes_but_not_the_codes_rows(row):
    model = Fields()
    assert item_bytes(model, row, model, field="item", items=range(1, ITEMS)) == 4 * 4 + 3 * 8


def test_items_that_share_a_row_do_not_hide_that_others_have_their_own(row):
    model = Fields()

    def score(rows):
        ids = rows["item"]
        return model.table(torch.where(ids % 2 == 1, ids, 0) + 20)

    assert item_bytes(model, row, score, field="item", items=[1, 5, 2, 4, 9, 11]) == 16
    assert item_bytes(model, row, score, field="item", items=[2, 4, 6]) == 0


def test_a_model_without_ids_stores_nothing_per_item(row):
    model = nn.Linear(4, 1)
    score = lambda rows: model(rows["user"].float().expand(1, 4))  # noqa: E731
    assert item_bytes(model, row, score, field="item", items=range(1, ITEMS)) == 0
    assert item_bytes(model, row, score, field="item", items=[5]) == 0
