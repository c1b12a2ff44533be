"""The models that RecBole lacks: their formulas, by hand, and their names in RecBole."""

import math

import pytest
import torch
from recbole.config import Config
from recbole.quick_start import load_data_and_model, run_recbole
from torch import nn

from recbole_clickprompt.backbones import NEW_MODELS
from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.backbones.fgcnn import GenerationLayer
from recbole_clickprompt.backbones.fibinet import SENET, BilinearInteraction
from recbole_clickprompt.backbones.finalmlp import BilinearFusion, FeatureGate
from recbole_clickprompt.backbones.gdcn import GatedCrossLayer
from recbole_clickprompt.backbones.masknet import MaskBlock
from recbole_clickprompt.backbones.wukong import FactorizationMachineBlock, WuKongLayer
from recbole_clickprompt.errors import SettingError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def build(make_config, make_data):
    def one(name, **settings):
        config = make_config("ClickPromptNoPLM", backbone=name, **settings)
        dataset = make_data(config)[0]._dataset
        return build_backbone(config, dataset).model, dataset[torch.arange(6)]

    return one


def test_a_cross_layer_with_open_gates_is_dcnv2s_and_with_closed_ones_changes_nothing():
    layer = GatedCrossLayer(3)
    c_0, c = torch.rand(2, 4, 3) + 0.1
    nn.init.constant_(layer.gate.weight, 1e4)
    torch.testing.assert_close(layer(c_0, c), c_0 * layer.cross(c) + c)
    nn.init.zeros_(layer.gate.weight)
    torch.testing.assert_close(layer(c_0, c), c_0 * layer.cross(c) / 2 + c)
    nn.init.constant_(layer.gate.weight, -1e4)
    torch.testing.assert_close(layer(c_0, c), c)


def test_a_mask_of_ones_leaves_a_plain_layer():
    block = MaskBlock(size=4, output_size=3, reduction_ratio=2, dropout=0.0)
    assert block.mask[0].weight.shape == (8, 4)
    embeddings, normed = torch.randn(2, 5, 4)
    nn.init.zeros_(block.mask[2].weight)
    nn.init.ones_(block.mask[2].bias)
    torch.testing.assert_close(block(embeddings, normed), block.hidden(normed))
    block.mask[2].bias.data[:] = torch.tensor([1.0, 0.0, 2.0, 0.0])
    expected = block.hidden(normed * torch.tensor([1.0, 0.0, 2.0, 0.0]))
    torch.testing.assert_close(block(embeddings, normed), expected)


def test_masknet_norms_each_field_by_itself(build):
    model, _ = build("MaskNet")
    fields, size = model.num_feature_field, model.embedding_size
    x = torch.randn(3, fields, size) * torch.arange(1, fields + 1).view(-1, 1)
    torch.testing.assert_close(model.norm(x.flatten(1)).view_as(x), nn.functional.layer_norm(x, (size,)))


def test_senet_weighs_fields_by_hand():
    senet = SENET(num_fields=2, reduction_ratio=2)
    senet.excitation[0].weight.data = torch.tensor([[1.0, 2.0]])
    senet.excitation[2].weight.data = torch.tensor([[0.5], [-1.0]])
    embeddings = torch.tensor([[[1.0, 3.0], [0.0, 4.0]]])  # means 2 and 2, squeezed to 6, weights 3 and 0
    torch.testing.assert_close(senet(embeddings), torch.tensor([[[3.0, 9.0], [0.0, 0.0]]]))


@pytest.mark.parametrize(("bilinear_type", "matrices"), [("all", 1), ("each", 2), ("interaction", 3)])
def test_bilinear_products_of_pairs_by_hand(bilinear_type, matrices):
    layer = BilinearInteraction(num_fields=3, size=2, bilinear_type=bilinear_type)
    assert layer.weight.shape == (matrices, 2, 2)
    v = torch.randn(1, 3, 2)
    used = {"all": [0, 0, 0], "each": [0, 0, 1], "interaction": [0, 1, 2]}[bilinear_type]
    expected = [
        (v[0, i] @ layer.weight[m]) * v[0, j] for (i, j), m in zip([(0, 1), (0, 2), (1, 2)], used, strict=True)
    ]
    torch.testing.assert_close(layer(v)[0], torch.stack(expected))


def test_finalmlps_fusion_is_a_bilinear_form_of_blocks():
    fusion = BilinearFusion(sizes=(4, 6), num_heads=2)
    first, second = torch.randn(5, 4), torch.randn(5, 6)
    whole = torch.block_diag(*fusion.weight.data)  # (4, 6)
    expected = fusion.linear(torch.cat([first, second], 1)).squeeze(1) + (first @ whole * second).sum(1)
    torch.testing.assert_close(fusion(torch.cat([first, second], 1)), expected)


def test_finalmlps_gates_read_their_context_alone():
    embeddings = torch.randn(4, 3, 2)
    gate = FeatureGate(columns=[1], field_size=2, hidden_sizes=[5], output_size=6)
    changed = embeddings.clone()
    changed[:, 1] += 1
    gates = gate(embeddings) / embeddings.flatten(1)
    assert ((gates > 0) & (gates < 2)).all()
    assert not torch.allclose(gates, gate(changed) / changed.flatten(1))
    changed = embeddings.clone()
    changed[:, 2] += 1
    torch.testing.assert_close(gates, gate(changed) / changed.flatten(1))
    learnt = FeatureGate(columns=[], field_size=2, hidden_sizes=[5], output_size=6)
    nn.init.zeros_(learnt.gate[1].weight)
    nn.init.zeros_(learnt.gate[1].bias)
    torch.testing.assert_close(learnt(embeddings), embeddings.flatten(1))


def test_finalmlps_context_is_the_field_it_names(build):
    model, rows = build("FinalMLP", fs1_context=["device", "genre"], fs2_context=[])
    changed = rows[torch.arange(6)]
    changed["device"] = 3 - changed["device"]
    embeddings, others = model.concat_embed_input_fields(rows), model.concat_embed_input_fields(changed)
    columns = (embeddings != others).any(2).any(0).nonzero().flatten().tolist()
    assert model.gates[0].columns == [*columns, 0]
    assert model.gates[1].context.shape == (8,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fs1_context": ["usr"]}, "fs1_context must be among the model's fields genre, .*, got 'usr'"),
        ({"num_heads": 3}, "num_heads must divide .*, 256 and 256; got 3"),
    ],
)
def test_impossible_settings_of_finalmlp_are_named(build, settings, message):
    with pytest.raises(SettingError, match=message):
        build("FinalMLP", **settings)


def test_wukongs_products_are_the_projected_gram_matrix():
    block = FactorizationMachineBlock(inputs=3, outputs=2, size=4, rank=2, hidden_sizes=[5])
    x = torch.randn(6, 3, 4)
    gram = torch.stack([row @ row.T for row in x])  # (B, n, n)
    torch.testing.assert_close(block.products(x), gram @ block.projection)
    assert block(x).shape == (6, 2, 4)


def test_a_wukong_layer_is_both_blocks_and_the_residual():
    same = WuKongLayer(inputs=5, num_fm=2, num_linear=3, size=4, rank=2, hidden_sizes=[5])
    x = torch.randn(6, 5, 4)
    linear = torch.stack([same.linear.weight @ row for row in x])  # (B, 3, d)
    expected = nn.functional.layer_norm(torch.cat([same.fm(x), linear], 1) + x, (4,))
    torch.testing.assert_close(same(x), expected)
    other = WuKongLayer(inputs=5, num_fm=2, num_linear=2, size=4, rank=2, hidden_sizes=[5])
    assert other.residual.weight.shape == (4, 5)
    assert other(x).shape == (6, 4, 4)


def test_a_generation_layer_convolves_over_fields_and_never_across_an_embedding():
    layer = GenerationLayer(
        fields=5, in_channels=1, channels=2, kernel_size=3, pooling_size=2, recombined=3, size=4
    )
    x = torch.randn(2, 1, 5, 4)
    pooled, new = layer(x)
    assert pooled.shape == (2, 2, 3, 4)
    assert new.shape == (2, 9, 4)
    rows = nn.functional.pad(x[:, 0], (0, 0, 1, 1))  # (B, 7, d)
    kernel, bias = layer.convolution.weight[:, 0, :, 0], layer.convolution.bias
    by_hand = torch.stack([torch.einsum("ck,bkd->bcd", kernel, rows[:, i : i + 3]) for i in range(5)], 2)
    by_hand = torch.tanh(by_hand + bias.view(1, 2, 1, 1))
    highest = torch.stack([by_hand[:, :, i : i + 2].amax(2) for i in (0, 2, 4)], 2)
    torch.testing.assert_close(pooled, highest)


def test_fgcnn_has_embeddings_of_its_own_for_generating(build):
    model, rows = build("FGCNN", conv_channels=[2, 3])
    raw, fields = model.num_feature_field, model.all_fields(rows)
    first = math.ceil(raw / 2)
    second = math.ceil(first / 2)
    assert fields.shape == (6, raw + 3 * first + 3 * second, model.embedding_size)
    nn.init.zeros_(model.token_embedding_table.embedding.weight)
    assert torch.equal(model.all_fields(rows)[:, raw:], fields[:, raw:])
    nn.init.zeros_(model.generation_embeddings.token_embedding_table.embedding.weight)
    assert not torch.equal(model.all_fields(rows)[:, raw:], fields[:, raw:])


@pytest.mark.parametrize("name", NEW_MODELS)
def test_recbole_runs_a_new_model_by_its_name(name, small, tmp_path):
    settings = {
        "data_path": small["data_path"], "gpu_id": "", "show_progress": False, "epochs": 1, "unused_col": None,
        "load_col": {"inter": ["user_id", "item_id", "rating"], "user": ["user_id", "age"],
                     "item": ["item_id", "genre"]},
        "threshold": {"rating": 4}, "metrics": ["AUC", "LogLoss"], "valid_metric": "AUC",
        "eval_args": {"mode": "labeled"}, "state": "ERROR", "embedding_size": 4,
    }  # fmt: skip
    result = run_recbole(model=name, dataset="tiny", config_dict=settings)
    assert 0 < result["test_result"]["auc"] < 1
    (file,) = (tmp_path / "saved").glob(f"{name}-*.pth")
    config, model, *_ = load_data_and_model(str(file))
    assert type(model).__name__ == name
    assert config["embedding_size"] == 4
    assert config["dropout_prob"] == 0.0  # of our property file
    assert config["train_batch_size"] == 2048  # RecBole's, as it is its trainer that runs


def test_recbole_reads_the_users_property_file_of_a_new_model(tmp_path):
    folder = tmp_path / "props" / "backbone"
    folder.mkdir(parents=True)
    (folder / "DNN.yaml").write_text("embedding_size: 5\nmlp_hidden_size: [7]\ndropout_prob: 0.1\n")
    assert Config("DNN", "ml-100k", None, {"gpu_id": ""})["mlp_hidden_size"] == [7]
    assert Config("DNN", "ml-100k", None, {"gpu_id": "", "mlp_hidden_size": [3]})["mlp_hidden_size"] == [3]
