"""BERT4CTRLike: meta tokens read the text, which never reads them; the first step leaves the PLM unchanged."""

import shutil
from pathlib import Path

import pytest
import torch
import transformers as tf
from recbole.quick_start import run_recbole
from recbole.utils import get_model
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.bert4ctr_like.meta_tokens import MetaTokens
from recbole_clickprompt.methods.bert4ctr_like.model import WithFrozenPLM
from recbole_clickprompt.methods.registry import find_method
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.pretrained_checkpoint import load_components
from tests.conftest import SHORT

OWN = {"backbone": "DNN", "meta_tokens": 3}
NO_DROPOUT = {"plm_dropout": 0.0, "dropout_prob": 0.0}


@pytest.fixture
def data(make_config, make_data):
    return make_data(make_config("BERT4CTRLike", **OWN))[0]._dataset


@pytest.fixture
def build(make_config, data):
    def build(**settings):
        torch.manual_seed(1)
        return get_model("BERT4CTRLike")(make_config("BERT4CTRLike", **{**OWN, **settings}), data)

    return build


def test_states_of_the_text_are_those_of_the_plm_without_meta_tokens(build, data):
    model, rows = build().eval(), data[torch.arange(20)]
    seen = []
    model.meta.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    with torch.no_grad():
        before = model(rows)
        text, lengths = model.text(rows)
        plain = model.plm.states(text, lengths)[1:]
        assert len(seen[0]) == len(plain) == 3
        assert all(map(torch.equal, seen[0], plain))
        model.meta.start.bias.add_(1)  # other meta tokens
        after = model(rows)
    assert all(map(torch.equal, seen[1], plain))
    assert not torch.allclose(before, after)


def test_meta_tokens_equal_attention_written_out(build):
    torch.manual_seed(3)
    meta = MetaTokens(input_size=5, count=2, width=8, num_layers=1, heads=2, dropout=0.0)
    q, text, lengths = torch.randn(3, 5), torch.randn(3, 4, 8), torch.tensor([4, 2, 1])
    (layer,) = meta.layers
    expected = []
    for row in range(3):
        start = (meta.start.weight @ q[row] + meta.start.bias).view(2, 8)
        read = text[row, : lengths[row]]
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            query, key, value = (f(x)[:, part] for f, x in zip(
                (layer.query, layer.key, layer.value), (start, read, read), strict=True))  # fmt: skip
            heads.append((query @ key.T / 2).softmax(1) @ value)
        attended = F.layer_norm(start + layer.output(torch.cat(heads, dim=1)), (8,))
        expected.append(F.layer_norm(attended + layer.mlp(attended), (8,)))
    assert torch.allclose(meta(q, [text], lengths), torch.stack(expected), atol=1e-5)
    padded = torch.cat([text, torch.full((3, 2, 8), 1e3)], dim=1)
    assert torch.allclose(meta(q, [padded], lengths), torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "modernbert"])
def test_padding_and_company_have_no_effect(make_config, make_data, tiny_plms, family):
    config = make_config("BERT4CTRLike", plm=str(tiny_plms[family]), **OWN)
    train = make_data(config)[0]._dataset
    model, rows = get_model("BERT4CTRLike")(config, train).eval(), train[torch.arange(12)]
    assert len(model.text.lengths(rows).unique()) > 1
    with torch.no_grad():
        alone = torch.cat([model(rows[[row]]) for row in range(12)])
        assert torch.allclose(model(rows), alone, atol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused(make_config, make_data, tiny_plms, tmp_path):
    folder = shutil.copytree(tiny_plms["t5"], tmp_path / "plm")
    plm = tf.AutoConfig.from_pretrained(folder)
    plm.num_heads = 3
    tf.T5ForConditionalGeneration(plm).save_pretrained(folder)
    config = make_config("BERT4CTRLike", plm=str(folder), **OWN)
    message = "states of width 16 with the PLM's number of heads, 3, which does not divide it in this 't5' model"
    with pytest.raises(SettingError, match=message):
        get_model("BERT4CTRLike")(config, make_data(config)[0]._dataset)


def test_the_first_step_leaves_the_plm_bit_equal_and_trains_the_rest(make_config, data):
    config = make_config("BERT4CTRLike", **OWN, pretrain_learning_rate=0.01)
    (stage,) = find_method("BERT4CTRLike").stages
    torch.manual_seed(1)
    model, rows = WithFrozenPLM(config, data).train(), data[torch.arange(64)]
    optimizer, before = stage.optimizer(config, model), {n: p.clone() for n, p in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        model.calculate_loss(rows).backward()
        optimizer.step()
    for name, weight in model.named_parameters():
        part = name.partition(".")[0]
        if part == "plm":
            assert torch.equal(weight, before[name]), name
        elif part in ("meta", "head") and "key.bias" not in name:  # softmax ignores what all scores have in common
            assert not torch.equal(weight, before[name]), name


def test_the_first_step_never_learns_from_validation_rows(make_config, make_data):
    config = make_config("BERT4CTRLike", pretrain_data="train_valid", pretrain_shuffle_items=True)
    train, valid, _ = make_data(config)
    (stage,) = find_method("BERT4CTRLike").stages
    rows = stage.training_rows(config, train, valid)
    assert torch.equal(rows.inter_feat["item_id"], train._dataset.inter_feat["item_id"])


def test_finetuning_starts_from_the_first_step_and_a_run_is_served(small):
    settings = {**small, **SHORT, **OWN, "epochs": 1}
    run_recbole(model="BERT4CTRLike", dataset="tiny", config_dict=settings)
    (run,) = Path("saved").glob("BERT4CTRLike-*.pth")
    assert len(list(Path("saved").glob("tiny-DNN-frozen_plm-*.safetensors"))) == 1
    folder = open_run(run)
    assert list(folder.history()["stage"].unique()) == ["frozen_plm", "finetune"]
    weights = torch.load(run)["state_dict"]
    assert {name.partition(".")[0] for name in weights} == {"backbone", "plm", "meta", "head"}
    table = folder.predictions("test")
    rows = table[["user", "item"]].head(20).rename(columns={"user": "user_id", "item": "item_id"})
    scores = load_model(run).predict(rows.assign(device="phone"))
    assert ((scores > 0) & (scores < 1)).all()


def test_the_stage_has_the_components_of_the_served_model(build, make_config, data, tmp_path):
    from recbole_clickprompt.trainer.pretrained_checkpoint import save_pretrained

    model, stage = build(), WithFrozenPLM(make_config("BERT4CTRLike", **OWN), data)
    with torch.no_grad():
        stage.meta.start.weight.add_(1)
    save_pretrained(stage, tmp_path / "stage.safetensors", inputs={"settings": {}}, epoch=1)
    load_components(model, tmp_path / "stage.safetensors", ("backbone", "plm", "meta", "head"))
    theirs = stage.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in model.state_dict().items())


def test_parts_of_a_batch_have_its_loss(build, data):
    model, rows = build(**NO_DROPOUT).train(), data[torch.arange(64)]
    whole = model.calculate_loss(rows).item()
    parts = model.split(rows, 10)
    assert sum(weight * model.calculate_loss(part).item() for part, weight in parts) == pytest.approx(
        whole, abs=1e-5
    )


def test_frozen_lower_layers_are_read_from_a_file(build, data, tmp_path):
    model, rows = build(plm_interaction_layers=1, checkpoint_dir=str(tmp_path)), data[torch.arange(20)]
    assert len(model.meta.layers) == 1
    assert len(list(tmp_path.glob("states-*.safetensors"))) == 1
    model.eval()(rows).sum().backward()
    trained = [n for n, p in model.plm.named_parameters() if p.grad is not None]
    assert trained
    assert all("layer.2." in name for name in trained)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"meta_tokens": 0}, "meta_tokens must be an integer, 1 or more, got 0"),
        ({"history_length": 5}, "history_length is 5, but DNN does not read histories by itself"),
        ({"plm_interaction_layers": 0}, "plm_interaction_layers must be an integer, 1 or more"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("BERT4CTRLike", **{**OWN, **settings})
