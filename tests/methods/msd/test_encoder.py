"""The student's vectors of texts: those of the whole model, however they are computed."""

import pytest
import torch

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.methods.msd.encoder import StudentEncoder
from recbole_clickprompt.plm.generative import load_generative
from tests.plm.generative_models import save_model

CAUSAL = ("llama", "qwen2", "gpt2")
_MEAN = [(family, "mean") for family in (*CAUSAL, "t5")]
LENGTHS = torch.tensor([5, 1, 9, 7])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("students")
    return {family: save_model(root / family, family, layers=4) for family in (*CAUSAL, "t5")}


@pytest.fixture
def load(folders):
    return lambda family: load_generative(str(folders[family])).model.eval()


@pytest.fixture
def tokens():
    return torch.randint(2, 250, (4, 9), generator=torch.Generator().manual_seed(1))


def lora(**more):
    return {"r": 4, "alpha": 8, "dropout": 0.5, **more}


def encoder_of(student, *, pooling="mean", **more):
    return StudentEncoder(
        student, **{"upper_layers": None, "lora": None, "trained": False, **more}, pooling=pooling
    )


def whole(student, tokens, lengths, pooling):
    """The pooled states of each text by itself, without any padding."""
    texts = [row[:length][None] for row, length in zip(tokens, lengths.tolist(), strict=True)]
    states = [student.base_model(input_ids=text).last_hidden_state[0] for text in texts]
    return torch.stack([text.mean(0) if pooling == "mean" else text[-1] for text in states])


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("layers", [None, 1, 2, 4])
@pytest.mark.parametrize("family", CAUSAL)
def test_vectors_are_pooled_states_of_the_whole_model(load, tokens, family, layers, pooling):
    expected = whole(load(family), tokens, LENGTHS, pooling)
    encoder = encoder_of(load(family), pooling=pooling, upper_layers=layers, lora=lora(), trained=True).eval()
    assert encoder.num_frozen == (0 if layers in (None, 4) else 4 - layers)
    with torch.no_grad():
        found = encoder(tokens, LENGTHS)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        if encoder.num_frozen:
            states = encoder.lower(tokens, LENGTHS)
            torch.testing.assert_close(encoder(states, LENGTHS), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "pooling"),
    [*((family, "last") for family in CAUSAL), *((family, "mean") for family in (*CAUSAL, "t5"))],
)
def test_the_content_of_padding_has_no_influence(load, tokens, family, pooling):
    encoder = encoder_of(load(family), pooling=pooling)
    other = tokens.clone()
    other[torch.arange(9) >= LENGTHS[:, None]] = 0
    wider = torch.cat([other, torch.full((4, 3), 7)], dim=1)
    with torch.no_grad():
        expected = encoder(tokens, LENGTHS)
        for padded in (other, wider):
            torch.testing.assert_close(encoder(padded, LENGTHS), expected, atol=1e-5, rtol=0)


def test_an_encoder_decoder_gives_the_mean_of_its_encoders_states(load, tokens):
    student = load("t5")
    encoder = encoder_of(load("t5"), upper_layers=None, lora=lora(), trained=True).eval()
    with torch.no_grad():
        rows = [
            student.get_encoder()(input_ids=row[:length][None]).last_hidden_state[0].mean(0)
            for row, length in zip(tokens, LENGTHS.tolist(), strict=True)
        ]
        torch.testing.assert_close(encoder(tokens, LENGTHS), torch.stack(rows), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_vectors_are_float32_under_autocast(load, tokens, pooling):
    encoder = encoder_of(load("llama"), pooling=pooling)
    with torch.no_grad():
        expected = encoder(tokens, LENGTHS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = encoder(tokens, LENGTHS)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.05


def test_an_encoder_decoder_has_no_last_token(load):
    with pytest.raises(SettingError, match="student_pooling is last, .* 't5', .* both directions; set mean"):
        encoder_of(load("t5"), pooling="last")


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("family", CAUSAL)
def test_gradients_of_adapters_are_those_of_the_whole_model(load, tokens, family, pooling):
    torch.manual_seed(0)
    encoder = encoder_of(load(family), pooling=pooling, upper_layers=2, lora=lora(dropout=0.0), trained=True)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    weights = torch.randn(4, encoder.width)

    def gradients(vectors):
        encoder.zero_grad()
        (vectors * weights).sum().backward()
        return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}

    ours = gradients(encoder(encoder.lower(tokens, LENGTHS).detach(), LENGTHS))
    theirs = gradients(encoder._whole(tokens, LENGTHS))
    assert ours.keys() == theirs.keys()
    assert all("lora_" in name for name in ours)
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_lora_starts_as_the_frozen_student_and_never_changes_its_weights(load, tokens, family):
    frozen = encoder_of(load(family))
    assert not frozen.is_trained()
    encoder = encoder_of(load(family), upper_layers=None, lora=lora(), trained=True)
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(encoder.eval()(tokens, LENGTHS), frozen(tokens, LENGTHS))
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    encoder.train()
    for _ in range(3):
        optimizer.zero_grad()
        encoder(tokens, LENGTHS).square().sum().backward()
        optimizer.step()
    changed = {name for name, weight in encoder.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed
    assert all(".lora_" in name for name in changed)
    assert {name.split(".base_layer")[0].rsplit(".", 1)[-1] for name in before if "base_layer" in name} == {
        "gpt2": {"c_attn"}, "t5": {"q", "v"}
    }.get(family, {"q_proj", "v_proj"})  # fmt: skip


def test_only_the_dropout_of_lora_is_active_in_training(load, tokens):
    frozen = encoder_of(load("gpt2"))
    for module in frozen.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    frozen.train()
    with torch.no_grad():
        assert torch.equal(frozen(tokens, LENGTHS), frozen(tokens, LENGTHS))
    encoder = encoder_of(load("llama"), upper_layers=1, lora=lora(), trained=True)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    with torch.no_grad():
        assert not torch.equal(encoder(tokens, LENGTHS), encoder(tokens, LENGTHS))
        encoder.eval()
        assert torch.equal(encoder(tokens, LENGTHS), encoder(tokens, LENGTHS))


def test_without_lora_the_weights_of_the_upper_layers_are_trained(load, tokens):
    encoder = encoder_of(load("llama"), upper_layers=2, lora=None, trained=True)
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[2] for name in trained if "layers" in name} == {"2", "3"}
    assert "base.norm.weight" in trained
    assert "base.embed_tokens.weight" not in trained
    encoder(tokens, LENGTHS).sum().backward()
    assert all(p.grad is not None for name, p in encoder.named_parameters() if name in trained)


def test_weights_of_another_student_are_taken_over_below_the_adapters(load, tokens):
    other = load("qwen2")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        encoder = encoder_of(load("qwen2"), upper_layers=2, lora=lora(), trained=True).eval()
        encoder.load_student(other)
        torch.testing.assert_close(
            encoder(tokens, LENGTHS), whole(other, tokens, LENGTHS, "mean"), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize(
    ("family", "settings", "words"),
    [
        ("t5", {"upper_layers": 2}, "lora_layers: the lower layers of a 't5' student cannot be run separately"),
        ("llama", {"upper_layers": 9}, "lora_layers is 9, but the student has 4 layers"),
        ("llama", {"upper_layers": 1, "lora": lora(target_modules=["nothing"])}, "plm_lora: .*nothing"),
        ("llama", {"upper_layers": 1, "lora": lora(target_modules="(")}, "is not a regular expression"),
    ],
)
def test_what_cannot_be_is_refused(load, family, settings, words):
    with pytest.raises(SettingError, match=words):
        encoder_of(load(family), **{"lora": lora(), "trained": True, **settings})
