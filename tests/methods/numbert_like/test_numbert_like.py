"""NumBERTLike reads each value as one token of its own, after the text of the row."""

from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.utils import FeatureType, get_model
from torch import nn

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.numbert_like.model import ExtendedEmbedding
from recbole_clickprompt.methods.numbert_like.value_tokens import append_tokens
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.trainer.optimizer import build_optimizer
from tests.conftest import SHORT

NUMBERS = {"numerical_features": ["year"], "number_buckets": 4}


@pytest.fixture
def data(make_config, make_data):
    return make_data(make_config("NumBERTLike", **NUMBERS))[0]._dataset


@pytest.fixture
def build(make_config, data):
    def build(**settings):
        torch.manual_seed(1)
        model = get_model("NumBERTLike")(make_config("NumBERTLike", **{**NUMBERS, **settings}), data)
        model.begin(data)
        return model

    return build


def test_each_value_is_a_single_token_after_the_text(build, data):
    model, rows = build(), data[torch.arange(60)]
    tokens, lengths = model.tokens(rows)
    text, before = model.text(rows)
    assert [f.name for f in model.values.fields if f.name == "title"] == []  # free text
    assert {f.name for f in model.values.fields} == {
        "user_id", "item_id", "gender", "age", "job", "device", "year", "genre",
    }  # fmt: skip
    values = len(model.values.fields) - 1 + (rows["genre"] > 0).sum(1).clamp(min=1)
    assert torch.equal(lengths, before + values)
    for row in range(60):
        end, start = int(lengths[row]), int(before[row])
        assert torch.equal(tokens[row, :start], text[row, :start])
        assert (tokens[row, start:end] >= model._first).all()
        assert (tokens[row, end:] == 0).all()
        assert len(tokens[row, start:end].unique()) == end - start
    users, place = {}, [f.name for f in model.values.fields].index("user_id")
    numbers, _ = model.values(rows)
    for user, number in zip(rows["user_id"].tolist(), numbers[:, place].tolist(), strict=True):
        assert users.setdefault(user, number) == number
    assert len(set(users.values())) == len(users)


def test_values_that_training_never_saw_are_one_unknown_token_per_field(make_config, build, data):
    model, rows = build(), data[torch.arange(8)]
    model.begin(data.copy(data.inter_feat[torch.arange(30)]))  # rows 0 to 29 are trained on
    seen, (numbers, _) = set(data.inter_feat["item_id"][:30].tolist()), model.values(data[torch.arange(len(data))])
    names = [f.name for f in model.values.fields]
    field, column = model.values.fields[names.index("item_id")], numbers[:, names.index("item_id")]
    unseen = torch.tensor([item not in seen for item in data.inter_feat["item_id"].tolist()])
    assert unseen.any()
    assert column[unseen].unique().tolist() == [field.offset]
    assert not (column[~unseen] == field.offset).any()
    added = model._embeddings[0].added.weight
    unknown = [f.offset for f in model.values.fields]
    assert (added[unknown] == 0).all()
    assert (added.abs().sum(1) == 0).sum() == len(unknown)
    other = build(unseen_id_embeddings="random")
    assert (other._embeddings[0].added.weight.abs().sum(1) > 0).all()
    assert torch.isfinite(model(rows)).all()


def test_numbers_are_cut_at_quantiles_of_the_rows_that_are_trained_on(build, data):
    model, rows = build(), data[torch.arange(len(data))]
    place = [f.name for f in model.values.fields].index("year")
    field = model.values.fields[place]
    tokens = model.values(rows)[0][:, place] - field.offset
    assert set(tokens.tolist()) == {1, 2, 3, 4}
    assert torch.bincount(tokens).max() < 0.5 * len(tokens)
    years = rows["year"][:, 0] + rows["year"][:, 1]
    order = years.argsort()
    assert (tokens[order].diff() >= 0).all()
    edges = model.values.edges.clone()
    model.begin(data.copy(data.inter_feat[torch.arange(30)]))
    assert not torch.equal(model.values.edges, edges)


def test_lists_of_numbers_have_no_tokens(build, data, monkeypatch):
    monkeypatch.setitem(data.field2type, "genre", FeatureType.FLOAT_SEQ)
    with pytest.raises(SettingError, match="numerical_features names genre, a list of numbers"):
        build(numerical_features=["year", "genre"])


def test_appended_tokens_leave_no_gaps_and_texts_are_cut_for_them():
    text = torch.tensor([[1, 2, 3, 4], [1, 2, 0, 0]])
    tokens = torch.tensor([[7, 8, 9], [7, 8, 9]])
    used = torch.tensor([[True, False, True], [True, True, True]])
    whole, lengths = append_tokens(text, torch.tensor([3, 2]), tokens, used, pad=0)
    assert whole.tolist() == [[1, 2, 3, 7, 9], [1, 2, 7, 8, 9]]
    assert lengths.tolist() == [5, 5]


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "gpt2", "albert", "modernbert", "deberta", "electra", "bart", "llama", "t5"]
)
def test_every_family_reads_new_tokens_and_the_old_ones_as_before(make_config, make_data, tiny_plms, family):
    config = make_config("NumBERTLike", plm=str(tiny_plms[family]))
    train = make_data(config)[0]._dataset
    model = get_model("NumBERTLike")(config, train).eval()
    model.begin(train)
    plain = get_model("PTab")(make_config("PTab", plm=str(tiny_plms[family])), train).eval()
    rows = train[torch.arange(12)]
    text, lengths = model.text(rows)
    with torch.no_grad():
        assert torch.equal(model.plm(text, lengths), plain.plm(text, lengths))
        together = model(rows)
        alone = torch.cat([model(rows[[row]]) for row in range(12)])
        assert torch.allclose(together, alone, atol=1e-5)  # padding has no effect
    model.train()(rows).sum().backward()
    assert model._embeddings[0].added.weight.grad.abs().sum() > 0


def test_new_embeddings_are_trained_at_the_rate_of_new_weights(build):
    model = build()
    optimizer = build_optimizer(
        model, learner="adamw", learning_rate=0.1, plm_learning_rate=0.01, weight_decay=0.0
    )
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    embeddings = model._embeddings[0]
    assert rates[id(embeddings.added.weight)] == rates[id(model.head.weight)] == 0.1
    assert rates[id(embeddings.pretrained.weight)] == 0.01


def test_the_extended_table_has_the_rows_of_both():
    words = nn.Embedding(5, 3)
    table = ExtendedEmbedding(words, 2, 0.5)
    found = table(torch.tensor([[0, 4, 5, 6]]))
    assert torch.equal(found[0], torch.cat([words.weight[[0, 4]], table.added.weight]))


def test_a_whole_run_scores_known_rows_as_in_training(small, capsys):
    run_recbole(model="NumBERTLike", dataset="tiny", config_dict={**small, **SHORT, **NUMBERS, "epochs": 1})
    (run,) = Path("saved").glob("NumBERTLike-*.pth")
    table = open_run(run).predictions("test")
    rows = table[["user", "item"]].head(30).rename(columns={"user": "user_id", "item": "item_id"})
    weights = torch.load(run)["state_dict"]
    assert weights["values.known"].any()
    model = load_model(run)
    scores = model.predict(rows.assign(device=["phone", "tablet", "laptop"] * 10))
    assert ((scores > 0) & (scores < 1)).all()
    assert model.predict(rows.assign(device="phone"))[::3] == pytest.approx(scores[::3], abs=1e-6)
    new = rows.head(2).assign(device="phone", user_id="new", gender="F", title="Grim Tale")
    assert ((model.predict(new) > 0) & (model.predict(new) < 1)).all()
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    assert main(["export", str(run), "--out=model", "--rows=20"]) != 0
    assert "NumBERTLike cannot be exported: it looks up tokens of values" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history_length": 5}, "history_length has no effect: NumBERTLike has no CTR model to read histories"),
        ({"init_from_text": ["item_id"]}, "init_from_text has no effect: NumBERTLike has no CTR model"),
        ({"pre_model_path": "x"}, "pre_model_path has no effect: NumBERTLike has no stage before finetuning"),
        ({"number_buckets": 1}, "number_buckets must be an integer, 2 or more, got 1"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("NumBERTLike", **settings)


def test_without_values_or_positions_there_is_one_error(make_config, data, monkeypatch):
    from recbole_clickprompt.methods.numbert_like import model

    fields = ["user_id", "item_id", "gender", "age", "job", "device", "genre", "title"]
    with pytest.raises(SettingError, match="NumBERTLike has no values to read"):
        get_model("NumBERTLike")(make_config("NumBERTLike", whole_text_fields=fields), data)
    monkeypatch.setattr(model, "longest_text", lambda folder: 5)
    with pytest.raises(SettingError, match="a row has up to .* but .* reads at most 5 tokens; use another plm"):
        get_model("NumBERTLike")(make_config("NumBERTLike"), data)
