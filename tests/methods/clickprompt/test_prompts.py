import torch

from recbole_clickprompt.methods.clickprompt.prompts import PromptGenerator


def test_batched_products_equal_separate_mlps_one_by_one():
    torch.manual_seed(0)
    layers, prompts, size, width = 2, 3, 7, 5
    generator = PromptGenerator(input_size=size, num_layers=layers, num_prompts=prompts, hidden_size=width)
    q = torch.randn(4, size, requires_grad=True)
    out = generator(q)
    assert out.shape == (layers, 4, prompts, width)
    hidden_weight = generator.hidden.weight.view(layers * prompts, width, size)
    hidden_bias = generator.hidden.bias.view(layers * prompts, width)
    for layer in range(layers):
        for k in range(prompts):
            index = layer * prompts + k
            hidden = torch.tanh(q @ hidden_weight[index].T + hidden_bias[index])
            one = hidden @ generator.weight[index] + generator.bias[index, 0]
            torch.testing.assert_close(out[layer, :, k], one, rtol=0, atol=1e-6)


def test_prompts_depend_on_their_own_row():
    generator = PromptGenerator(input_size=3, num_layers=1, num_prompts=2, hidden_size=4)
    q = torch.randn(5, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator(q)[:, 2].sum(), q)
    assert gradient[2].abs().sum() > 0
    assert gradient[[0, 1, 3, 4]].abs().sum() == 0
