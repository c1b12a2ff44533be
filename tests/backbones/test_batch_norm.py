"""Batch norm over ranks against torch's own over the whole batch."""

import itertools

import pytest
import torch
import torch.distributed as dist
from torch import nn

from recbole_clickprompt import distributed
from recbole_clickprompt.backbones.batch_norm import RunningBatchNorm1d, batch_norm_over_ranks
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


CLICKS = [(3, 0), (2, 1), (1, 0), (0, 0)]  # rows of two ranks
FIRST = torch.arange(12.0).view(4, 3).square()


def running(rows, first):
    """Output, input gradient and buffers for the rows, after some first ones."""
    module = nn.Sequential(RunningBatchNorm1d(3, affine=False))
    batch_norm_over_ranks(module)
    module(first)
    x = rows.requires_grad_()
    output = module(x)
    output.square().sum().backward()
    return output.detach(), x.grad, dict(module[0].named_buffers())


def clicks(number):
    torch.manual_seed(number)
    return torch.randn(sum(CLICKS[number]), 3)


def running_on_a_rank():
    _join(torch.device("cpu"))
    rank = dist.get_rank()
    rows = [clicks(number).split(list(counts))[rank].clone() for number, counts in enumerate(CLICKS)]
    return [running(own, FIRST[rank::2]) for own in rows]


def test_ranks_may_have_a_single_row_or_none():
    by_rank = on_ranks(running_on_a_rank)
    for number, counts in enumerate(CLICKS):
        whole = running(clicks(number), FIRST)
        for rank, own in enumerate(answer[number] for answer in by_rank):
            for ours, alone in zip(own[:2], whole[:2], strict=True):
                torch.testing.assert_close(ours, alone.split(list(counts))[rank])
            for name, value in whole[2].items():
                torch.testing.assert_close(own[2][name], value)
