"""Every backbone keeps the same contract."""

import pytest
import torch
from recbole.data.interaction import Interaction
from recbole.utils import get_model

from recbole_clickprompt.backbones import BACKBONES
from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.methods.clickprompt.model import ClickPrompt, ClickPromptNoPLM

# Parameters that do not start Xavier-normal, and why
START = {
    "EulerNet": (
        ["inter_orders", "im.weight", "mu", "bias_lam", "bias_theta"],
        "its authors' own start: order vectors of one field each, N(0, 0.01), moduli of one",
    ),
}


@pytest.fixture(scope="module", params=BACKBONES)
def backbone_data(request, make_config, make_data):
    config = make_config("ClickPromptNoPLM", backbone=request.param)
    return config, make_data(config)[0]._dataset


@pytest.fixture
def setting(backbone_data):
    config, dataset = backbone_data
    torch.manual_seed(0)
    return config, dataset, dataset[torch.arange(20)]


def test_sigmoid_of_the_logit_is_the_models_own_score(setting):
    config, dataset, rows = setting
    backbone = build_backbone(config, dataset).eval()
    q, logit = backbone(rows)
    torch.testing.assert_close(torch.sigmoid(logit), backbone.model.predict(rows))
    torch.testing.assert_close(backbone.logit(rows), logit)
    assert q.shape == (20, backbone.width(rows))
    assert logit.shape == (20,)


def test_gradients_of_q_reach_the_embeddings(setting):
    config, dataset, rows = setting
    backbone = build_backbone(config, dataset)
    backbone(rows)[0].square().sum().backward()
    # FFM has tables of its own, one a field; those of its base class stay unused
    ffm = config["backbone"] == "FFM"
    tables = backbone.model.ffm.token_embeddings if ffm else [backbone.model.token_embedding_table.embedding]
    offset = backbone.model.token_field_offsets[backbone.model.token_field_names.index("user_id")]
    used = torch.zeros(tables[0].num_embeddings, dtype=torch.bool)
    used[rows["user_id"] + offset] = True
    gradient = sum(table.weight.grad for table in tables)
    assert (gradient[used].abs().sum(1) > 0).all()


def test_in_bf16_it_trains_to_float32_logits_and_predicts_as_ever(setting):
    config, dataset, rows = setting
    backbone = build_backbone(config, dataset).eval()
    plain = backbone.logit(rows)
    products = []
    backbone.model.register_forward_hook(lambda *_: products.append(torch.ones(2, 2) @ torch.ones(2, 2)))
    for amp, training in ((True, True), (True, False), (False, True)):
        backbone.amp = amp
        backbone.train(training)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            q, logit = backbone(rows)
            assert logit.dtype == backbone.logit(rows).dtype == torch.float32
        (q.float().sum() + logit.sum()).backward()
        assert {product.dtype for product in products} == {torch.bfloat16 if amp and training else torch.float32}
        products.clear()
        if not training:
            assert torch.equal(logit, plain)


def test_what_pretraining_teaches_reaches_the_score(setting):
    config, dataset, rows = setting
    backbone = build_backbone(config, dataset)
    of_q = _with_gradient(backbone, backbone(rows)[0].sin().sum())
    of_logit = _with_gradient(backbone, backbone(rows)[1].sum())
    assert of_q & of_logit


def _with_gradient(backbone, output):
    backbone.zero_grad()
    output.backward()
    return {n for n, p in backbone.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_q_of_a_row_does_not_depend_on_its_batch(setting):
    config, dataset, rows = setting
    backbone = build_backbone(config, dataset)
    if config["backbone"] == "DIN":
        backbone.eval()  # Dice normalizes over the batch in training
    alone = torch.cat([backbone(rows[i : i + 1])[0] for i in range(20)])
    torch.testing.assert_close(backbone(rows)[0], alone, rtol=0, atol=1e-5)


def test_the_width_is_found_without_a_trace(setting):
    config, dataset, rows = setting
    backbone = build_backbone(config, dataset)
    state = torch.get_rng_state()
    backbone.width(rows)
    assert backbone.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_pre_hooks for m in backbone.modules())


def test_weights_start_small_and_without_batch_norm(setting):
    config, dataset, _ = setting
    backbone = build_backbone(config, dataset)
    names, _ = START.get(config["backbone"], ((), ""))
    weights = {n: p for n, p in backbone.named_parameters() if not n.endswith(tuple(names))}
    # Xavier-normal: variance 2 / (fan in + fan out), as has the Xavier-uniform start of torch's own attention
    for name, p in weights.items():
        for matrix in {2: [p], 3: list(p)}.get(p.ndim, []):
            if min(matrix.shape) > 1:
                expected = (2 / sum(matrix.shape)) ** 0.5
                assert matrix.std().item() == pytest.approx(expected, rel=0.35), name
    assert all(p.std() < 0.5 for p in weights.values() if p.ndim == 1 and len(p) > 1)
    # but for Dice, DIN's activation
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == (config["backbone"] == "DIN")


def test_without_pretraining_the_model_is_its_backbone(setting):
    config, dataset, rows = setting
    torch.manual_seed(5)
    model = ClickPromptNoPLM(config, dataset).eval()
    torch.manual_seed(5)
    backbone = build_backbone(config, dataset).eval()
    ours = {name.removeprefix("backbone."): p for name, p in model.state_dict().items()}
    assert ours.keys() == backbone.state_dict().keys()
    assert all(torch.equal(ours[name], p) for name, p in backbone.state_dict().items())
    assert torch.equal(model.predict(rows), backbone.model.predict(rows))


def test_the_loss_is_cross_entropy_alone(setting):
    config, dataset, rows = setting
    model = ClickPromptNoPLM(config, dataset).eval()
    score, label = model.predict(rows), rows["label"]
    expected = -(label * score.log() + (1 - label) * (1 - score).log()).mean()
    torch.testing.assert_close(model.calculate_loss(rows), expected)


def test_both_models_learn_with_every_backbone(setting, make_config):
    config, dataset, rows = setting
    with_plm = make_config("ClickPrompt", backbone=config["backbone"])
    for model in (ClickPromptNoPLM(config, dataset), ClickPrompt(with_plm, dataset)):
        model.eval()  # or dropout would move the loss by more than four steps do
        optimizer = torch.optim.Adam(model.backbone.parameters(), lr=1e-3)
        losses = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = model.calculate_loss(rows)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DCNV2", {"structure": "stacked"}),
        ("EulerNet", {"apply_norm": True, "order_list": [3, 2]}),
        ("FiBiNET", {"bilinear_type": "all"}),
        ("FiBiNET", {"bilinear_type": "each"}),
        ("FiGNN", {"n_layers": 1}),
        ("FinalMLP", {"fs1_context": [], "gate_hidden_size": []}),
        ("KD_DAGFM", {"phase": "finetuning"}),
        ("KD_DAGFM", {"phase": "finetuning", "type": "inner"}),
        ("PNN", {"use_outer": True}),
        ("PNN", {"use_inner": False}),
        ("xDeepFM", {"direct": False, "cin_layer_size": [6, 4]}),
    ],
)
def test_other_forms_of_a_backbone_keep_the_contract(name, settings, make_config, make_data):
    config = make_config("ClickPromptNoPLM", backbone=name, **settings)
    dataset = make_data(config)[0]._dataset
    rows = dataset[torch.arange(20)]
    backbone = build_backbone(config, dataset)
    q, logit = backbone(rows)
    torch.testing.assert_close(torch.sigmoid(logit), backbone.model.predict(rows))
    torch.testing.assert_close(q[:5], backbone(rows[:5])[0])
    assert q.shape == (20, backbone.width(rows))
    assert _with_gradient(backbone, q.sin().sum())


@pytest.mark.parametrize("name", BACKBONES)
def test_number_fields_are_features_where_asked_for(name, make_config, make_data):
    # Years as they are, 1996 times an embedding, saturate whatever comes behind them
    config = make_config("ClickPromptNoPLM", backbone=name, numerical_features=["year"], normalize_field=["year"])
    dataset = make_data(config)[0]._dataset
    rows = dataset[torch.arange(20)]
    backbone = build_backbone(config, dataset).eval()
    assert backbone.model.float_field_names == ["year"]
    assert backbone.model.token_field_names
    assert backbone.model.token_seq_field_names
    q, logit = backbone(rows)
    rows["year"] = rows["year"] * torch.tensor([3.0, 1.0])  # value and index
    other_q, other_logit = backbone(rows)
    assert (q - other_q).abs().max() > 1e-4
    assert (logit - other_logit).abs().max() > 1e-6


def test_the_cross_layer_is_the_hosts(make_config, make_data):
    config = make_config("ClickPromptNoPLM", backbone="DCNV2")
    dataset = make_data(config)[0]._dataset
    ours = build_backbone(config, dataset).model
    x = torch.randn(6, ours.in_feature_num)
    torch.testing.assert_close(ours.cross_network(x), get_model("DCNV2").cross_network(ours, x))
    mixed = build_backbone(make_config("ClickPromptNoPLM", backbone="DCNV2", mixed=True, low_rank=4), dataset)
    assert mixed(dataset[torch.arange(4)])[1].shape == (4,)


def test_the_hosts_cross_weights_would_start_a_hundred_times_larger(make_config, make_data):
    config = make_config("ClickPromptNoPLM", backbone="DCNV2")
    dataset = make_data(config)[0]._dataset
    host = get_model("DCNV2")(config, dataset).cross_layer_w[0].var().item()
    ours = build_backbone(config, dataset).model.cross_layer_w[0].var().item()
    assert host == pytest.approx(1.0, rel=0.2)
    assert ours < host / 30


def test_a_backbone_computes_in_float32_under_autocast(make_config, make_data):
    config = make_config("ClickPromptNoPLM")
    dataset = make_data(config)[0]._dataset
    model = ClickPromptNoPLM(config, dataset)
    rows: Interaction = dataset[torch.arange(4)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.predict(rows), model.predict(rows).float())
        assert model(rows).dtype is torch.float32
