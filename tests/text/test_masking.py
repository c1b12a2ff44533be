"""Rates and limits of token masking."""

import pytest
import torch

from recbole_clickprompt.text.masking import NextTokens, TokenMasker

PAD, CLS, SEP, MASK = 0, 1, 2, 3


@pytest.fixture
def masker():
    return TokenMasker(mask_ratio=0.15, mask_id=MASK, special_ids=[PAD, CLS, SEP, MASK], vocab_size=50)


def rows(*lengths):
    width = max(lengths) + 2
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, 0], ids[row, length + 1] = CLS, SEP
        ids[row, 1 : length + 1] = torch.arange(length) % 40 + 10
    return ids


def mask(masker, ids):
    return masker(ids, (ids != PAD).sum(1))


def test_each_row_gives_fifteen_percent_of_its_own_tokens(masker):
    masked = mask(masker, rows(40, 20, 7, 3, 1))
    assert (masked.labels >= 0).sum(1).tolist() == [6, 3, 1, 1, 1]


def test_labels_are_the_original_tokens_and_nothing_else_changes(masker):
    ids = rows(40, 20)
    masked = mask(masker, ids)
    asked = masked.labels >= 0
    assert torch.equal(ids.gather(1, masked.positions)[asked], masked.labels[asked])
    untouched = torch.ones_like(ids, dtype=torch.bool)
    row, slot = torch.nonzero(asked, as_tuple=True)
    untouched[row, masked.positions[row, slot]] = False
    assert torch.equal(masked.text[untouched], ids[untouched])
    # no position is asked for twice
    assert all(len(set(p[a].tolist())) == int(a.sum()) for p, a in zip(masked.positions, asked, strict=True))


def test_special_tokens_and_padding_are_never_sampled(masker):
    torch.manual_seed(0)
    for _ in range(50):
        masked = mask(masker, rows(9, 3, 30))
        assert not torch.isin(masked.labels, torch.tensor([PAD, CLS, SEP, MASK])).any()


def test_eighty_ten_ten(masker):
    torch.manual_seed(0)
    ids = rows(*[100] * 2000)
    masked = mask(masker, ids)
    new = masked.text.gather(1, masked.positions)
    share_masked = (new == MASK).float().mean().item()
    share_same = (new == masked.labels).float().mean().item()
    share_random = ((new != MASK) & (new != masked.labels)).float().mean().item()
    # 30,000 draws: three standard deviations are 0.007 and 0.005; random hits the original 1 time in 46
    assert share_masked == pytest.approx(0.8, abs=0.007)
    assert share_same == pytest.approx(0.1 + 0.1 / 46, abs=0.006)
    assert share_random == pytest.approx(0.1 - 0.1 / 46, abs=0.006)


def test_masks_are_drawn_afresh(masker):
    torch.manual_seed(0)
    ids = rows(40)
    assert not torch.equal(mask(masker, ids).positions, mask(masker, ids).positions)


def test_next_tokens_ask_each_token_but_the_last_for_its_successor():
    ids = torch.tensor([[5, 6, 7, 8], [5, 9, 0, 0]])
    asked = NextTokens()(ids, torch.tensor([4, 2]))
    assert torch.equal(asked.text, ids)
    assert asked.positions.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert asked.labels.tolist() == [[6, 7, 8], [9, -100, -100]]
