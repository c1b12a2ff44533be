"""Near items, masking of clicks and adaptors, against loops and by construction."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_clickprompt.methods.msd.fusion import NearItems, SimilarityHistogram, latest_occurrences
from recbole_clickprompt.methods.msd.masking import mask_rates, masked_clicks
from recbole_clickprompt.methods.text_vectors.adaptors import Adaptor

WIDTH = 3


def module(fusion="sum", count=2):
    torch.manual_seed(2)
    near = NearItems(WIDTH, count=count, fusion=fusion, temperature=0.3)
    torch.nn.init.normal_(near.no_history)
    return near


def fused_by_loops(near, target, items, places, seen):
    rows = []
    for t, slots, used in zip(target, places.tolist(), seen.tolist(), strict=True):
        clicks = [items[slot] for slot, use in zip(slots, used, strict=True) if use]
        cosines = [float(c @ t / (c.norm().clamp(min=1e-8) * t.norm().clamp(min=1e-8))) for c in clicks]
        order = sorted(range(len(clicks)), key=lambda index: -cosines[index])[: near.count]
        if not order:
            rows.append(near.no_history)
            continue
        chosen = torch.stack([clicks[index] for index in order])
        similar = torch.tensor([cosines[index] for index in order])
        if near.fusion == "sum":
            weights = torch.ones(len(order))
        elif near.fusion == "mean":
            weights = torch.full((len(order),), 1 / len(order))
        elif near.fusion == "softmax":
            weights = (similar / near.temperature).softmax(0)
        else:
            weights = (near.key(chosen) @ near.query(t) / math.sqrt(WIDTH)).softmax(0)
        rows.append(weights @ chosen)
    return torch.stack(rows)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.integers(1, 8),
    st.sampled_from(["sum", "mean", "softmax", "attention"]),
)  # fmt: skip
def test_the_near_items_are_those_of_loops_whatever_empty_slots_hold(seed, rows, slots, count, fusion):
    near = module(fusion, count)
    draw = torch.Generator().manual_seed(seed)
    target, items = torch.randn(rows, WIDTH, generator=draw), torch.randn(9, WIDTH, generator=draw)
    places = torch.randint(9, (rows, slots), generator=draw)
    seen = torch.rand(rows, slots, generator=draw) < 0.6
    found = near(target, items, places, seen)
    torch.testing.assert_close(found, fused_by_loops(near, target, items, places, seen), atol=1e-5, rtol=1e-4)
    other = torch.where(seen, places, torch.randint(9, places.shape, generator=draw))
    assert torch.equal(near(target, items, other, seen), found)


def test_of_a_history_of_the_target_alone_the_fused_vector_is_the_targets():
    items = torch.randn(4, WIDTH)
    found = module(count=1)(items, items, torch.arange(4)[:, None], torch.ones(4, 1, dtype=torch.bool))
    assert torch.equal(found, items)


def test_more_near_items_than_clicks_are_all_clicks():
    items, places = torch.randn(5, WIDTH), torch.tensor([[0, 1, 2, 3]])
    seen = torch.tensor([[True, False, True, False]])
    found = module(count=3)(items[:1], items, places, seen)
    torch.testing.assert_close(found, items[[0, 2]].sum(0, keepdim=True))


@pytest.mark.parametrize("fusion", ["sum", "mean", "softmax", "attention"])
def test_the_order_of_clicks_does_not_matter(fusion):
    near, draw = module(fusion), torch.Generator().manual_seed(3)
    target, items = torch.randn(6, WIDTH, generator=draw), torch.randn(9, WIDTH, generator=draw)
    places, seen = torch.randint(9, (6, 5), generator=draw), torch.rand(6, 5, generator=draw) < 0.7
    order = torch.randperm(5, generator=draw)
    torch.testing.assert_close(
        near(target, items, places, seen), near(target, items, places[:, order], seen[:, order])
    )


@pytest.mark.parametrize("fusion", ["sum", "mean", "softmax", "attention"])
def test_gradients_reach_near_items_alone_and_are_finite_without_clicks(fusion):
    near, items = module(fusion, count=1), torch.eye(3).requires_grad_()
    target = torch.tensor([[1.0, 0.1, 0.0], [0.0, 1.0, 0.0]], requires_grad=True)
    seen = torch.tensor([[True, True], [False, False]])
    near(target, items, torch.tensor([[0, 1], [2, 2]]), seen).sum().backward()
    assert items.grad[0].abs().sum() > 0
    assert items.grad[1:].abs().sum() == 0
    assert near.no_history.grad.tolist() == [1.0, 1.0, 1.0]
    assert target.grad is None or target.grad.isfinite().all()


def test_zero_vectors_have_no_similarity_instead_of_nan():
    found = module()(torch.zeros(1, WIDTH), torch.zeros(2, WIDTH), torch.tensor([[0, 1]]), torch.ones(1, 2).bool())
    assert torch.equal(found, torch.zeros(1, WIDTH))


def test_unique_history_keeps_the_latest_slot_of_each_item():
    items = torch.tensor([[4, 5, 4, 5, 4], [1, 1, 2, 0, 0]])
    seen = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]).bool()
    kept = latest_occurrences(items, seen)
    assert kept.int().tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]


@pytest.mark.parametrize("mode", ["head", "tail", "uniform"])
@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3])
def test_the_mean_rate_over_slots_is_the_one_asked_for(mode, rate):
    counts = torch.tensor([0, 1, 2, 5, 10, 30, 100, 400, 1500, 3, 3, 7, 60])
    rates = mask_rates(counts, mode=mode, rate=rate)
    assert float((counts / counts.sum() * rates).sum()) == pytest.approx(rate, abs=1e-6)
    assert 0 <= float(rates.min()) <= float(rates.max()) <= 0.5
    by_count = rates[counts > 0][counts[counts > 0].argsort()]
    if mode == "head":
        assert (by_count.diff() >= 0).all()
        assert by_count[0] == 0
        assert by_count[-1] > rate
    elif mode == "tail":
        assert (by_count.diff() <= 0).all()
        assert by_count[0] > by_count[-1]


def test_without_clicks_or_masking_nothing_is_masked():
    assert mask_rates(torch.zeros(3), mode="head", rate=0.15).tolist() == [0, 0, 0]
    assert mask_rates(torch.ones(3), mode="none", rate=0.15).tolist() == [0, 0, 0]


def test_drawn_masks_have_the_rates_keep_a_click_and_follow_the_generator():
    rates = torch.tensor([0.0, 0.1, 0.5])
    items = torch.tensor([[1, 2, 2, 1]]).expand(4000, 4)
    used = torch.tensor([[True, True, True, False]]).expand(4000, 4)
    first, again, other = (
        masked_clicks(items, used, rates, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not first[:, 3].any()
    assert not first[:, :3].all(1).any()
    # 99.99 % of a binomial distribution; the last click stays where all would be masked: .1 * .5 * .5
    share, expected = first.float().mean(0), [0.1, 0.5, 0.475]
    for found, p in zip(share[:3].tolist(), expected, strict=True):
        assert abs(found - p) < 3.9 * math.sqrt(p * (1 - p) / 4000)
    single = masked_clicks(torch.full((500, 1), 2), torch.ones(500, 1).bool(), rates, torch.Generator())
    assert not single.any()


def test_the_histogram_counts_clicks_by_their_similarity_and_ignores_masked_slots():
    torch.manual_seed(0)
    fusion, count = SimilarityHistogram(WIDTH), 20
    with torch.no_grad():
        fusion.projection.weight.zero_()
        fusion.projection.bias.zero_()
        fusion.projection.weight[:, :] = torch.eye(count)[:WIDTH] + torch.eye(count)[-WIDTH:]
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], requires_grad=True)
    items = torch.tensor([[3.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.5, 0.0]], requires_grad=True)
    places = torch.tensor([[0, 0, 1, 0], [2, 1, 0, 2]])
    seen = torch.tensor([[True, True, True, False], [True, False, False, False]])
    # Bins -1 to -0.9 and 0.9 to 1 are read as the first and the last component
    torch.testing.assert_close(fusion(target, items, places, seen), torch.tensor([[0.25, 0.0, 0.5], [0, 0, 0.25]]))
    assert not fusion(target, items, places, torch.zeros_like(seen)).any()
    fusion(target, items, places, seen).sum().backward()
    assert target.grad is None
    assert items.grad is None


def test_the_adaptor_standardizes_by_the_vectors_it_was_given():
    torch.manual_seed(0)
    adaptor = Adaptor(4, hidden=8, out=2)
    vectors = torch.randn(50, 4) * torch.tensor([1.0, 9.0, 0.1, 0.0]) + 100
    adaptor.standardize(vectors)
    scaled = (vectors - adaptor.mean) * adaptor.scale
    torch.testing.assert_close(scaled.mean(0), torch.zeros(4), atol=2e-3, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0)[:3], torch.ones(3), atol=2e-3, rtol=0)
    assert adaptor.scale[3] == 1  # a component that does not differ is not divided by zero
    assert adaptor(vectors).shape == (50, 2)
    assert {"mean", "scale"} <= adaptor.state_dict().keys()
