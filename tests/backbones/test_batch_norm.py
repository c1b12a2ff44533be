"""Batch norm over ranks against torch's own over the whole batch."""

import itertools

import pytest
import torch
import torch.distributed as dist
from torch import nn

from recbole_clickprompt import distributed
from recbole_clickprompt.backbones.batch_norm import batch_norm_over_ranks
from recbole_clickprompt.host.distributed import _join
from tests.ranks import on_ranks

SHAPES = {nn.BatchNorm1d: (7, 3), nn.BatchNorm2d: (5, 3, 2, 4)}


def layer(kind, momentum):
    torch.manual_seed(1)
    module = kind(3, momentum=momentum)
    nn.init.normal_(module.weight)
    nn.init.normal_(module.bias)
    return module


def batches(kind):
    torch.manual_seed(2)
    # A mean far from 0 beside the spread costs digits where squares are summed
    return [20 + torch.randn(SHAPES[kind]) for _ in range(2)], torch.randn(SHAPES[kind])


CASES = list(itertools.product(SHAPES, [0.1, None], [False, True]))


def normalise_cases():
    _join(torch.device("cpu"))
    return [normalise(*case) for case in CASES]


def normalise(kind, momentum, idle):
    """Output and input gradient of this rank's rows, parameter gradients and statistics, after two batches."""
    module = nn.Sequential(layer(kind, momentum))
    batch_norm_over_ranks(module)
    here = distributed.current()
    inputs, pull = batches(kind)
    here.is_padding = here.rank == 2 and idle
    # An idle rank computes a row of another's
    own = slice(0, 1) if here.is_padding else slice(here.rank, None, here.world - idle)
    for batch in inputs:
        module.zero_grad()
        x = batch[own].requires_grad_()
        output = module(x)
        (float(not here.is_padding) * (output * pull[own]).sum()).backward()
    return output.detach(), x.grad, module[0].weight.grad, module[0].bias.grad, dict(module[0].named_buffers())


def test_it_equals_one_batch_norm_over_all_rows():
    by_rank = on_ranks(normalise_cases, world=3)
    close = {"rtol": 0, "atol": 2e-5}
    for number, (kind, momentum, idle) in enumerate(CASES):
        module = layer(kind, momentum)
        inputs, pull = batches(kind)
        for batch in inputs:
            module.zero_grad()
            x = batch.requires_grad_()
            output = module(x)
            (output * pull).sum().backward()
        answers = [cases[number] for cases in by_rank]
        for rank, (own, gradient, _, _, buffers) in enumerate(answers):
            for name, value in module.named_buffers():
                torch.testing.assert_close(buffers[name], value, **close)
            if not (idle and rank == 2):
                rows = slice(rank, None, 3 - idle)
                torch.testing.assert_close(own, output[rows].detach(), **close)
                torch.testing.assert_close(gradient, x.grad[rows], **close)
        for index, parameter in ((2, module.weight), (3, module.bias)):
            torch.testing.assert_close(sum(answer[index] for answer in answers), parameter.grad, **close)


def one_value():
    _join(torch.device("cpu"))
    module = nn.BatchNorm1d(3)
    batch_norm_over_ranks(module)
    distributed.current().is_padding = dist.get_rank() == 1
    with pytest.raises(ValueError, match="more than one row"):
        module(torch.ones(1, 3))
    module.eval()
    return module(torch.ones(2, 3)).shape


def test_a_single_row_on_all_ranks_is_refused_as_by_torch():
    assert on_ranks(one_value) == [(2, 3)] * 2
