"""PRINTRepaired: scores depend on a row alone and on no noise, and padding has no part in preferences."""

from pathlib import Path

import pytest
import torch
from recbole.quick_start import run_recbole
from recbole.utils import get_model
from torch.nn import functional as F

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.evaluation.run_folder import open_run
from recbole_clickprompt.methods.print_repaired.pair_states import PairEncoder
from recbole_clickprompt.methods.print_repaired.relevance import RelevanceIncentive, balance, read_history
from recbole_clickprompt.serving import load_model
from recbole_clickprompt.serving.load import build_data, load_trained
from recbole_clickprompt.trainer.optimizer import build_optimizer
from tests.conftest import SHORT

OWN = {"backbone": "DIN", "history_length": 4, "plm_num_layers": 2}


@pytest.fixture
def data(make_config, make_data):
    return make_data(make_config("PRINTRepaired", **OWN))[0]._dataset


@pytest.fixture
def build(make_config, data):
    def build(**settings):
        torch.manual_seed(1)
        return get_model("PRINTRepaired")(make_config("PRINTRepaired", **{**OWN, **settings}), data)

    return build


@pytest.fixture
def encoded(monkeypatch):
    """Numbers of pairs that were read."""
    counts, call = [], PairEncoder.__call__

    def counting(self, users, items):
        counts.append(len(users))
        return call(self, users, items)

    monkeypatch.setattr(PairEncoder, "__call__", counting)
    return counts


def test_neither_the_order_of_rows_nor_their_company_changes_a_score(build, data):
    model, rows = build().train(), data[torch.arange(60)]
    model.calculate_loss(rows)  # sets running statistics of batch norm
    model.eval()
    order = torch.randperm(60)
    with torch.no_grad():
        scores = model.predict(rows)
        assert torch.allclose(model.predict(rows[order]), scores[order], atol=1e-6)
        alone = torch.cat([model.predict(rows[[row]]) for row in range(60)])
    assert torch.allclose(alone, scores, atol=1e-6)
    assert len(scores.unique()) > 30


def test_two_evaluations_are_equal_and_training_is_noisy(build, data):
    model, rows = build().eval(), data[torch.arange(40)]
    with torch.no_grad():
        assert torch.equal(model(rows), model(rows))
        model.train()
        model.norm = None
        first, again = (model.logits(rows)[1].logit for _ in range(2))
    assert not torch.allclose(first, again, atol=1e-4)


def test_preferences_are_weighted_row_by_row_without_padding():
    torch.manual_seed(0)
    similarity, clicks = torch.randn(3, 4), torch.randn(3, 4, 5)
    lengths = [4, 2, 0]
    mask = torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    found = read_history(similarity, clicks, mask)
    for row, length in enumerate(lengths):
        weights = similarity[row, :length].softmax(0)
        assert torch.allclose(found[row], weights @ clicks[row, :length], atol=1e-6)
    assert (found[2] == 0).all()
    wider = torch.cat([clicks, torch.full((3, 2, 5), 1e3)], dim=1)
    more = read_history(F.pad(similarity, (0, 2), value=9.0), wider, F.pad(mask, (0, 2)))
    assert torch.allclose(more, found)


def test_slots_that_hold_no_click_have_no_influence(build, data):
    model, rows = build().eval(), data[torch.arange(60)]
    short = rows["item_length"] < 4
    assert short.any()
    assert (rows["item_length"] == 0).any()
    other = data[torch.arange(60)]
    empty = torch.arange(4) >= rows["item_length"].unsqueeze(1)
    other.interaction["item_id_list"] = rows["item_id_list"].masked_fill(empty, 7)
    with torch.no_grad():
        assert torch.allclose(model(other), model(rows), atol=1e-6)


def test_a_pair_is_both_texts_between_special_tokens_and_its_vectors_are_the_plms(build, data, make_config):
    model, table = build(), data.token_table(make_config("PRINTRepaired")["plm"])
    encoder, tokenizer = model.pairs.encoder, data.tokenizer(make_config("PRINTRepaired")["plm"])
    users, items = torch.tensor([1, 2, 3, 3]), torch.tensor([5, 1, 2, 9])
    tokens, lengths, first = encoder.tokens(users, items)
    for row in range(4):
        written = tokenizer.decode(tokens[row, : lengths[row]])
        assert written.count("[CLS]") == 1
        assert written.count("[SEP]") == 2
        assert "user id is" in written.partition("[SEP]")[0]
        assert written.partition("[SEP]")[2].strip().startswith("film id is")
        assert tokens[row, first[row] - 1] == table.suffix[0]
        assert (tokens[row, lengths[row] :] == 0).all()
    found = encoder(users, items)
    for row in range(4):
        alone = tokens[row : row + 1, : lengths[row]]
        with torch.no_grad():
            states = model.plm.eval()(alone, lengths[row : row + 1])[0]
        own = states[1 : first[row] - 1].mean(0)
        assert torch.allclose(found[row], torch.cat([states[0], own]), atol=1e-5)


@pytest.mark.parametrize("family", ["roberta", "gpt2", "modernbert"])
def test_other_families_read_pairs_too(make_config, make_data, tiny_plms, family):
    config = make_config("PRINTRepaired", **OWN, plm=str(tiny_plms[family]))
    train = make_data(config)[0]._dataset
    model = get_model("PRINTRepaired")(config, train).eval()
    encoder, users, items = model.pairs.encoder, torch.arange(1, 9), torch.arange(2, 10)
    alone = torch.cat([encoder(users[[row]], items[[row]]) for row in range(8)])
    assert torch.allclose(encoder(users, items), alone, atol=1e-5)
    assert torch.isfinite(model(train[torch.arange(8)])).all()


def test_pairs_of_training_rows_are_read_once_and_kept_in_a_file(build, data, encoded, tmp_path):
    model, rows = build(checkpoint_dir=str(tmp_path)).eval(), data[torch.arange(100)]
    with torch.no_grad():
        scores = model(rows)
    pairs = len(set(zip(data.inter_feat["user_id"].tolist(), data.inter_feat["item_id"].tolist(), strict=True)))
    assert sum(encoded) == pairs
    (file,) = tmp_path.glob("pairs-*.safetensors")
    again = build(checkpoint_dir=str(tmp_path)).eval()
    with torch.no_grad():
        assert torch.equal(again(rows), scores)
    assert sum(encoded) == pairs
    users, items = torch.tensor([1, 1, 2]), torch.tensor([3, 3, 70])
    model.pairs(users, items)
    model.pairs(users, items)
    new = {(1, 3), (2, 70)} - set(
        zip(data.inter_feat["user_id"].tolist(), data.inter_feat["item_id"].tolist(), strict=True)
    )
    assert sum(encoded) == pairs + len(new)
    build(checkpoint_dir=str(tmp_path), plm_num_layers=1).eval()(rows)
    assert len(list(tmp_path.glob("pairs-*.safetensors"))) == 2
    assert file.is_file()


def test_the_plm_is_frozen_and_everything_else_is_trained(build, data):
    model, rows = build().train(), data[torch.arange(100)]
    rates = {"learning_rate": 0.01, "plm_learning_rate": 0.0, "weight_decay": 0.0}
    optimizer = build_optimizer(model, learner="adamw", **rates)
    model.calculate_loss(rows).backward()
    without = {name.partition(".")[0] for name, p in model.named_parameters() if p.grad is None}
    unused = {name for name, p in model.backbone.named_parameters() if p.grad is None}
    assert without == {"plm", "backbone"}
    assert all(name.startswith("model.first_order_linear.") for name in unused)  # of RecBole's base class
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in model.plm.parameters()}


def test_the_incentive_chooses_between_gain_loss_and_nothing():
    torch.manual_seed(0)
    network = RelevanceIncentive(6).eval()
    r, p = torch.randn(50, 6), torch.randn(50, 6)
    types = network(r, p).types
    assert torch.allclose(types.sum(1), torch.ones(50))
    with torch.no_grad():
        for chosen, sign in ((0, 1), (1, -1), (2, 0)):
            network.types[-1].weight.zero_()
            network.types[-1].bias.copy_(100 * torch.eye(3)[chosen])
            assert (network(r, p).logit.sign() == sign).all()


def test_types_used_alike_have_no_loss():
    assert balance(torch.eye(3)).item() == pytest.approx(0)
    types = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    used = types.sum(0).numpy()
    assert balance(types).item() == pytest.approx(used.var(ddof=1) / used.mean() ** 2)


def test_a_saved_run_scores_known_rows_with_their_histories_as_in_training(small):
    run_recbole(model="PRINTRepaired", dataset="tiny", config_dict={**small, **SHORT, **OWN, "epochs": 1})
    (run,) = Path("saved").glob("PRINTRepaired-*.pth")
    table = open_run(run).predictions("test")
    logit = torch.tensor((table["logit_ctr"] + table["logit_relevance"]).to_numpy())
    assert torch.sigmoid(logit).numpy() == pytest.approx(table["score"].to_numpy(), abs=1e-6)
    test = build_data(load_trained(run).config)[2]
    batch, names = test[torch.arange(len(test))], test.field2id_token["item_id"]
    rows = table[["user", "item"]].rename(columns={"user": "user_id", "item": "item_id"})
    rows["device"] = test.field2id_token["device"][batch["device"]]
    assert rows["item_id"].tolist() == names[batch["item_id"]].tolist()
    rows["item_id_list"] = [
        "|".join(names[item] for item in row if item) for row in batch["item_id_list"].tolist()
    ]
    model = load_model(run)
    assert model.predict(rows) == pytest.approx(table["score"].to_numpy(), abs=1e-5)
    new = rows.head(4).assign(user_id="new", title="Grim Tale")
    assert ((model.predict(new) > 0) & (model.predict(new) < 1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history_length": None}, "backbone: DIN reads each user's earlier clicks; set history_length"),
        ({"history_length": None, "backbone": "DNN"}, "PRINTRepaired reads each user's earlier clicks; set"),
        ({"backbone": "FFM"}, "PRINTRepaired adds the vector of a pair as a field, which FFM does not support"),
        ({"plm_learning_rate": 1e-5}, "plm_learning_rate has no effect: PRINTRepaired's language model is frozen"),
        ({"pre_model_path": "x"}, "pre_model_path has no effect: PRINTRepaired has no stage before finetuning"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make_config, settings, message):
    with pytest.raises(SettingError, match=message):
        make_config("PRINTRepaired", **{**OWN, **settings})
