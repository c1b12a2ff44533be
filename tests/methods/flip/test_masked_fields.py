"""Masked field modeling: what is hidden, what competes with it, and what predictions read."""

import math

import pytest
import torch
from recbole.data.interaction import Interaction
from torch.nn import functional as F

from recbole_clickprompt.methods.flip.masked_fields import (
    FieldPredictor,
    IdMasker,
    noise_contrastive_loss,
    value_counts,
)

COUNTS = [torch.tensor([0, 7, 1]), torch.tensor([0, 1, 2, 3, 14])]


@pytest.fixture
def masker():
    return IdMasker(["a", "b"], COUNTS, mask_ratio=0.5, negatives=4000)


def rows(count=64):
    generator = torch.Generator().manual_seed(1)
    columns = {"a": 3, "b": 5, "c": 9}
    return Interaction(
        {name: torch.randint(size, (count,), generator=generator) for name, size in columns.items()}
    )


def test_the_masked_share_is_rounded_down_and_at_least_one():
    for fields, ratio, expected in ((8, 0.15, 1), (2, 0.15, 1), (20, 0.15, 3), (4, 0.5, 2), (1, 0.9, 1)):
        counts = [torch.ones(3, dtype=torch.long)] * fields
        made = IdMasker([str(i) for i in range(fields)], counts, mask_ratio=ratio, negatives=2)
        batch = Interaction({str(i): torch.ones(5, dtype=torch.long) for i in range(fields)})
        masked, negatives = made.sample(batch)
        assert masked.shape == (5, expected)
        assert negatives.shape == (5, expected, 2)
        assert all(len(set(row)) == expected for row in masked.tolist())


def test_masked_fields_have_id_0_and_all_other_columns_stay(masker):
    batch = rows()
    masked = torch.tensor([[0], [1]] * 32)
    hidden = masker.hide(batch, masked)
    assert (hidden["a"][0::2] == 0).all()
    assert torch.equal(hidden["a"][1::2], batch["a"][1::2])
    assert (hidden["b"][1::2] == 0).all()
    assert torch.equal(hidden["c"], batch["c"])
    assert torch.equal(batch["a"], rows()["a"])  # the batch itself is unchanged
    assert masker.targets(batch, masked).tolist() == [
        [int(batch["a"][i])] if i % 2 == 0 else [3 + int(batch["b"][i])] for i in range(64)
    ]


def test_negatives_are_values_of_the_masked_field_by_frequency(masker):
    torch.manual_seed(2)
    masked, negatives = masker.sample(rows())
    drawn = [torch.zeros(3), torch.zeros(5)]
    for (field,), (values,) in zip(masked.tolist(), negatives, strict=True):
        ids = values - (0 if field == 0 else 3)
        drawn[field] += torch.bincount(ids, minlength=len(drawn[field]))
    for count, found in zip(COUNTS, drawn, strict=True):
        torch.testing.assert_close(found / found.sum(), (count + 1) / (count + 1).sum(), atol=0.01, rtol=0)
    assert masker.log_frequencies.exp()[:3].tolist() == pytest.approx([3 / 11, 24 / 11, 6 / 11])


def test_values_are_counted_by_row_also_those_of_users_and_items(make_config, make_data):
    dataset = make_data(make_config("FLIP"))[0]._dataset
    whole = dataset[torch.arange(len(dataset))]
    for field in ("user_id", "gender", "device", "title"):
        expected = torch.bincount(whole[field], minlength=dataset.num(field))
        assert torch.equal(value_counts(dataset, field), expected), field


def test_the_loss_tells_true_values_from_noise():
    scores, log_frequencies = torch.tensor([[[1.0, -0.5, 2.0]]]), torch.tensor([[[0.5, 0.25, 0.1]]]).log()
    corrected = (scores - log_frequencies - math.log(2)).flatten().tolist()
    expected = -math.log(1 / (1 + math.exp(-corrected[0])))
    expected -= sum(math.log(1 / (1 + math.exp(c))) for c in corrected[1:])
    assert noise_contrastive_loss(scores, log_frequencies).item() == pytest.approx(expected, abs=1e-5)


def test_padding_is_not_read():
    torch.manual_seed(0)
    predictor = FieldPredictor(input_size=6, hidden_size=8, num_fields=3, num_values=20, value_size=4)
    q, states, lengths = torch.randn(5, 6), torch.randn(5, 7, 8), torch.tensor([7, 2, 5, 1, 3])
    expected = predictor.vectors(q, states, lengths)
    assert expected.shape == (5, 3, 4)
    padded = F.pad(states, (0, 0, 0, 4), value=float("nan"))
    for row, length in enumerate(lengths):
        padded[row, length:] = float("nan") if row % 2 else 1e6
    torch.testing.assert_close(predictor.vectors(q, padded, lengths), expected, atol=1e-6, rtol=1e-5)


def test_scores_are_inner_products_of_the_masked_fields_vectors():
    predictor = FieldPredictor(input_size=6, hidden_size=8, num_fields=3, num_values=20, value_size=4)
    vectors, masked = torch.randn(2, 3, 4), torch.tensor([[2, 0], [1, 2]])
    values = torch.randint(20, (2, 2, 5))
    scores = predictor.scores(vectors, masked, values)
    assert scores.shape == (2, 2, 5)
    by_hand = vectors[1, 2] @ predictor.values.weight[values[1, 1, 3]]
    assert scores[1, 1, 3].item() == pytest.approx(by_hand.item(), abs=1e-6)
