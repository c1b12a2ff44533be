"""What RecBole's classes do wrong, and that ours do not."""

import pytest
import torch
from recbole.model.context_aware_recommender.kd_dagfm import DAGFM as HostDAGFM
from recbole.utils import get_model
from torch import nn

from recbole_clickprompt.backbones.adapter import build_backbone
from recbole_clickprompt.errors import SettingError


@pytest.fixture
def build(make_config, make_data):
    """The host's model, ours, and some rows."""

    def both(name, host_settings=(), /, **settings):
        config = make_config("ClickPromptNoPLM", backbone=name, **settings)
        dataset = make_data(config)[0]._dataset
        torch.manual_seed(0)
        ours = build_backbone(config, dataset).model
        config.final_config_dict.update(host_settings)
        torch.manual_seed(0)
        return get_model(name)(config, dataset), ours, dataset[torch.arange(20)]

    return both


def test_afms_vectors_start_small_and_the_norm_of_a_weight_stays_out_of_the_loss(build):
    host, ours, rows = build("AFM", embedding_size=64, attention_size=64, reg_weight=2.0)
    assert host.p.std() > 0.7
    assert host.attlayer.h.std() > 0.7
    assert ours.p.std() < 0.3
    assert ours.attlayer.h.std() < 0.3
    entropy = nn.functional.binary_cross_entropy_with_logits(host(rows), rows["label"])
    torch.testing.assert_close(host.calculate_loss(rows) - entropy, 2 * host.attlayer.w.weight.norm())


def test_dcns_cross_weights_start_small(build):
    host, ours, _ = build("DCN")
    assert host.cross_layer_w[0].std() > 0.8
    assert ours.cross_layer_w[0].std() < 0.3
    ours.load_state_dict(host.state_dict(), strict=False)
    x = torch.randn(4, len(ours.cross_layer_w[0]))
    torch.testing.assert_close(ours.cross_network(x), host.cross_network(x))


@pytest.mark.parametrize("name", ["DCN", "DSSM", "NFM"])
def test_in_training_a_rows_score_depends_on_its_batch_in_the_host_alone(name, build):
    # Float fields out of the way, which the host's DSSM fails over
    load_col = {"inter": ["user_id", "item_id", "rating", "timestamp"], "user": ["user_id", "age"],
                "item": ["item_id", "genre"]}  # fmt: skip
    text = {"text_fields": {"user_id": "user"}, "whole_text_fields": [], "value_labels": {}}
    host, ours, rows = build(name, load_col=load_col, **text)
    assert (host(rows)[:10] - host(rows[:10])).abs().max() > 1e-3
    torch.testing.assert_close(ours(rows)[:10], ours(rows[:10]))


def test_nfm_without_batch_norm_and_sigmoids_is_the_hosts(build):
    host, ours, rows = build("NFM")
    assert any(isinstance(m, nn.Sigmoid) for m in host.mlp_layers.modules())
    ours.load_state_dict(host.state_dict(), strict=False)
    host.bn, host.mlp_layers = nn.Identity(), ours.mlp_layers
    torch.testing.assert_close(ours(rows), host(rows))
    assert not any(isinstance(m, nn.Sigmoid) for m in ours.mlp_layers.modules())


def test_xdeepfms_mlp_can_lower_a_logit(build):
    host, ours, rows = build("xDeepFM")
    flat = ours.concat_embed_input_fields(rows).flatten(1)
    for linear in (host.mlp_layers.mlp_layers[-2], ours.mlp_layers[1]):
        nn.init.constant_(linear.bias, -3.0)
    assert (host.mlp_layers(flat) == 0).all()
    assert (ours.mlp_layers(flat) < -1).all()


def test_fwfms_field_weights_are_trained_and_saved(build):
    host, ours, rows = build("FwFM")
    assert "weight" not in host.state_dict()
    assert all(p is not host.weight for p in host.parameters())
    assert "weight" in ours.state_dict()
    ours(rows).sum().backward()
    used = torch.ones_like(ours.weight[:, :, 0]).triu(1).bool()
    assert (ours.weight.grad[:, :, 0][used] != 0).all()
    assert ours.weight.std() < host.weight.std() / 2


def test_fwfms_matrix_product_is_the_hosts_loop_over_pairs(build):
    host, ours, rows = build("FwFM")
    ours.load_state_dict(host.state_dict(), strict=False)
    host.weight = ours.weight.data
    torch.testing.assert_close(ours(rows), host(rows))


def test_fwfms_fields_are_those_of_the_embeddings(build):
    # The embeddings begin with genre, the one token_seq field; the host counts it behind all token fields
    host, ours, _ = build("FwFM", fields={0: ["genre"], 1: ["user_id", "gender", "age", "job", "device"],
                                          2: ["item_id", "title"]})  # fmt: skip
    assert host.feature2field[0] == 1
    assert ours.field_of[0] == 0
    assert ours.field_of.count(0) == 1
    assert ours.weight.shape == (3, 3, 1)


@pytest.mark.parametrize("name", ["FFM", "FwFM"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({0: ["user_id", "usr"]}, "fields contains 'usr', which is not a feature; features are genre, user_id"),
        ({0: ["user_id", "gender"]}, "fields must contain each feature once; got 'genre' 0 times"),
    ],
)
def test_fields_that_do_not_fit_the_features_are_named(build, name, fields, message):
    with pytest.raises(SettingError, match=message):
        build(name, fields=fields)


def test_ffm_has_a_table_of_a_multi_valued_feature_for_each_field(build):
    host, ours, rows = build("FFM")
    fields = host.num_fields
    assert len({id(host.ffm.token_seq_embeddings[i][0]) for i in range(fields)}) == 1
    assert len({id(ours.ffm.token_seq_embeddings[i][0]) for i in range(fields)}) == fields
    ours(rows).sum().backward()
    # genre is field F - 1: its table for itself meets no pair
    trained = [ours.ffm.token_seq_embeddings[i][0].weight.grad.abs().sum() > 0 for i in range(fields)]
    assert trained == [True] * (fields - 1) + [False]
    ours.load_state_dict(host.state_dict(), strict=False)
    assert "ffm.token_seq_embedding.0.weight" not in ours.state_dict()


def test_dssm_lets_number_fields_be_that_are_no_features(build):
    host, ours, rows = build("DSSM")
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        host.eval()(rows)
    assert ours(rows).shape == (20,)


def test_dssms_towers_read_their_own_sides_fields(build):
    _, ours, rows = build("DSSM", numerical_features=["year"], normalize_field=["year"])
    user, item = [], []
    ours.user_mlp_layers.register_forward_hook(lambda m, i, out: user.append(out))
    ours.item_mlp_layers.register_forward_hook(lambda m, i, out: item.append(out))
    ours(rows)
    rows["age"] = rows["age"].roll(1)
    ours(rows)
    rows["year"] = rows["year"].roll(1, 0)
    ours(rows)
    assert not torch.equal(user[0], user[1])
    assert torch.equal(user[1], user[2])
    assert torch.equal(item[0], item[1])
    assert not torch.equal(item[1], item[2])


def test_fignns_matrices_start_no_smaller_for_being_many(build):
    host, ours, _ = build("FiGNN", attention_size=32)
    expected = (2 / (32 + 32)) ** 0.5
    assert host.gnn[0].W_in[0].std() < expected / 2
    assert ours.gnn.W_in[0].std().item() == pytest.approx(expected, rel=0.1)


def test_fignns_steps_share_a_layer(build):
    host, ours, rows = build("FiGNN", n_layers=4)
    assert sum(name.endswith("W_in") for name, _ in host.named_parameters()) == 3
    assert sum(name.endswith("W_in") for name, _ in ours.named_parameters()) == 1
    state = ours.state_dict()
    for step in range(3):
        state.update({f"gnn.{step}.{n}": state[f"gnn.{n}"] for n in ("W_in", "W_out", "bias_p")})
    host.load_state_dict({n: p for n, p in state.items() if n in host.state_dict()})
    torch.testing.assert_close(ours(rows), host(rows))


@pytest.mark.parametrize("phase", ["teacher_training", "finetuning"])
def test_kd_dagfm_gives_the_logits_of_the_hosts_probabilities(phase, build):
    # The host builds its student from a teacher's file alone, so its phase changes afterwards
    host, ours, rows = build("KD_DAGFM", {"teacher": "CrossNet", "phase": "teacher_training"})
    host.phase = phase
    ours.network = host.teacher_network if phase == "teacher_training" else host.student_network
    ours.load_state_dict(host.state_dict(), strict=False)
    assert host(rows).shape == (20, 1)
    torch.testing.assert_close(torch.sigmoid(ours(rows)), host(rows).squeeze(1))
    torch.testing.assert_close(ours.predict(rows), host.predict(rows).squeeze(1))


def test_kd_dagfms_student_follows_the_device_of_the_config(make_config, make_data):
    config = make_config("ClickPromptNoPLM", backbone="KD_DAGFM", phase="finetuning")
    dataset = make_data(config)[0]._dataset
    ours = build_backbone(config, dataset).model
    assert "network.adj_matrix" in dict(ours.named_buffers())
    assert "network.adj_matrix" not in ours.state_dict()
    host = HostDAGFM({"type": "outer", "depth": 1, "feature_num": 2, "embedding_size": 2})
    assert "adj_matrix" not in dict(host.named_buffers())
    meta = ours.to("meta")
    assert {t.device.type for t in (*meta.parameters(), *meta.buffers())} == {"meta"}
    embeddings = torch.zeros(2, ours.num_feature_field, ours.embedding_size, device="meta")
    assert ours.network.FeatureInteraction(embeddings).device.type == "meta"


def test_kd_dagfms_cross_weights_start_small(build):
    host, ours, _ = build("KD_DAGFM", {"teacher": "CrossNet", "phase": "teacher_training"})
    assert host.teacher_network.cross_layer_w[0].std() > 0.9
    assert ours.network.cross_layer_w[0].std() < 0.2


def test_autoint_ignores_its_residual_unless_it_is_set(build):
    for settings, has_residual in (({}, True), ({"has_residual": False}, False)):
        host, ours, _ = build("AutoInt", {"has_residual": None}, **settings)
        assert not hasattr(host, "v_res_embedding")  # what the host's own property file leaves unset
        assert hasattr(ours, "v_res_embedding") is has_residual
