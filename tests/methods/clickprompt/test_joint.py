"""Joint layers: the lower ones read each user's and item's text alone, once; only the upper ones see both."""

import copy

import pytest
import torch
from recbole.utils import get_trainer
from safetensors import safe_open

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.methods.clickprompt.builders import build_components, build_pamlm
from recbole_clickprompt.methods.clickprompt.model import ClickPrompt
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_plm
from recbole_clickprompt.plm.text_inputs import build_masked_text, build_text_table
from recbole_clickprompt.text.entity_texts import entity_texts
from tests.conftest import CAUSAL, SHORT

SEPARABLE = ["bert", "roberta", "electra", "distilbert", "modernbert", "deberta", *CAUSAL]


@pytest.fixture(params=SEPARABLE)
def setting(request, make_config, make_data, tiny_plms, tmp_path):
    config = make_config(
        plm=str(tiny_plms[request.param]),
        plm_interaction_layers=1,
        plm_cached_masks=2,
        plm_dropout=0.0,
        checkpoint_dir=str(tmp_path),
    )
    return config, make_data(config)[0]._dataset


def rows_of(dataset, count=16):
    return dataset[torch.arange(count)]


def test_states_of_a_row_are_those_of_its_users_and_its_items_text_read_alone(setting):
    config, dataset = setting
    plm = build_components(config, dataset).plm
    rows = rows_of(dataset, 6)
    states, lengths = build_text_table(config, dataset, plm)(rows)
    table = dataset.token_table(config["plm"])
    intact, full = table(rows)
    assert torch.equal(lengths, full)
    for row in range(6):
        expected, read = [], []
        for text, key in zip(entity_texts(table), table.keys, strict=True):
            i = int(rows[key][row])
            tokens = text.tokens[text.offsets[i] : text.offsets[i + 1]]
            alone = plm.encode_lower(tokens[None], torch.tensor([len(tokens)]))[0]
            expected.append(alone[text.prefix_len : len(tokens) - text.suffix_len])
            read.append(tokens[text.prefix_len : len(tokens) - text.suffix_len])
        assert torch.equal(torch.cat(read), intact[row, : lengths[row]])
        ours = states[row, : lengths[row]].float()
        torch.testing.assert_close(ours, torch.cat(expected), rtol=1e-2, atol=1e-2)  # bf16


def test_upper_layers_over_the_states_below_them_equal_the_whole_plm(plm_folder):
    plm = load_plm(plm_folder, num_layers=None, dropout=0.0).encoder
    whole = PromptedEncoder(plm).eval()
    if plm.config.model_type in ("albert", "bart", "t5"):
        pytest.skip("its lower layers do not stand apart")
    upper = PromptedEncoder(plm, num_frozen_layers=2).eval()
    input_ids = torch.randint(5, 60, (3, 9))
    lengths = torch.tensor([9, 4, 7])
    prompts = torch.randn(1, 3, 2, 16)
    below = whole.states(input_ids, lengths)[2]
    torch.testing.assert_close(upper.encode_lower(input_ids, lengths), below)
    seen = (torch.arange(9) < lengths[:, None]).unsqueeze(2)
    ours = upper(below, lengths) * seen
    torch.testing.assert_close(ours, whole(input_ids, lengths) * seen)
    assert (upper(below, lengths, prompts) * seen - ours).abs().max() > 1e-3


def test_only_upper_layers_head_prompts_and_backbone_train(setting):
    config, dataset = setting
    model = build_pamlm(config, dataset)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(name.startswith(("plm.encoder.", "lm_head.")) for name in frozen)
    trained = [n for n, p in model.plm.named_parameters() if p.requires_grad]
    assert trained
    assert all(".2." in name or "norm" in name or "ln_f" in name for name in trained)
    part, _ = model.split(rows_of(dataset), 16)[0]
    model.calculate_loss(part).backward()
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert model.backbone.model.token_embedding_table.embedding.weight.grad.abs().sum() > 0


def test_masked_states_come_from_masked_text_and_ask_for_the_intact(make_config, make_data, tmp_path):
    config = make_config(
        plm_interaction_layers=1, plm_cached_masks=3, plm_dropout=0.0, checkpoint_dir=str(tmp_path)
    )
    dataset = make_data(config)[0]._dataset
    plm = build_components(config, dataset).plm
    text = build_masked_text(config, dataset, plm)
    rows = rows_of(dataset)
    intact, lengths = dataset.token_table(config["plm"])(rows)
    clean, _ = build_text_table(config, dataset, plm)(rows)
    torch.manual_seed(0)
    masked, same = text(rows)
    assert torch.equal(same, lengths)
    asked = masked.labels >= 0
    assert asked.any(1).all()
    assert torch.equal(masked.labels[asked], intact.gather(1, masked.positions)[asked])
    share = asked.sum().item() / (lengths - 2).sum().item()
    assert 0.1 < share < 0.2
    inside = torch.arange(intact.shape[1]) < lengths[:, None]
    assert ((masked.text - clean).abs().amax(2)[inside] > 1e-2).float().mean() > 0.5
    drawn = torch.stack([text(rows)[0].labels.clamp(min=0).sum(1) for _ in range(8)])
    assert (drawn.float().std(0) > 0).any()


def test_runs_share_the_file_and_another_depth_has_its_own(make_config, make_data, tmp_path):
    def files(**settings):
        config = make_config(plm_dropout=0.0, checkpoint_dir=str(tmp_path), **settings)
        build_text_table(config, dataset := make_data(config)[0]._dataset, build_components(config, dataset).plm)
        return {p.name for p in tmp_path.iterdir()}

    one = files(plm_interaction_layers=1)
    assert len(one) == 1
    assert files(plm_interaction_layers=1, seed=7) == one
    two = files(plm_interaction_layers=2)
    assert len(two) == 2
    with safe_open(tmp_path / two.pop(), framework="pt") as file:
        assert file.get_tensor("states").dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:], "its checksum does not match"),
        (lambda whole: whole[:-1], "is damaged"),
        (lambda whole: b"", "is damaged"),
    ],
)
def test_damaged_states_are_refused_by_name(make_config, make_data, tmp_path, damage, message):
    config = make_config(plm_interaction_layers=1, checkpoint_dir=str(tmp_path))
    dataset = make_data(config)[0]._dataset
    plm = build_components(config, dataset).plm
    build_text_table(config, dataset, plm)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=rf"{path.name}.*{message}.*delete it"):
        build_text_table(config, dataset, plm)
    path.unlink()
    build_text_table(config, dataset, plm)


def test_both_stages_train_and_the_frozen_layers_stay_as_they_were(make_config, make_data, tmp_path):
    config = make_config(plm_interaction_layers=1, checkpoint_dir=str(tmp_path), epochs=1, **SHORT)
    train, valid, test = make_data(config)
    model = ClickPrompt(config, train._dataset)
    before = {n: p.clone() for n, p in model.plm.named_parameters()}
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, verbose=False)
    assert 0 < trainer.evaluate(test)["auc"] < 1
    for name, parameter in model.plm.named_parameters():
        assert torch.equal(parameter, before[name]) is not parameter.requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plm_interaction_layers": 4}, "plm_interaction_layers is 4, but there are 3 layers"),
        ({"plm_interaction_layers": 1, "prompt_strategy": "input"}, "leaves the lower layers without prompts"),
        (
            {"plm_interaction_layers": 1, "plm": "albert"},
            "lower layers of a 'albert' model cannot be run",
        ),
        ({"plm_interaction_layers": 1, "plm": "bart"}, "lower layers of a 'bart' model cannot be run"),
        ({"plm_interaction_layers": 1, "plm": "t5"}, "lower layers of a 't5' model cannot be run"),
    ],
)
def test_what_cannot_be_joined_is_refused(make_config, make_data, tiny_plms, settings, message):
    if "plm" in settings:
        settings = {**settings, "plm": str(tiny_plms[settings["plm"]])}
    config = make_config(**settings)
    with pytest.raises(SettingError, match=message):
        build_components(config, make_data(config)[0]._dataset)


def test_as_many_joint_layers_as_there_are_is_the_exact_form(make_config, make_data):
    config = make_config(plm_interaction_layers=3)
    dataset = make_data(config)[0]._dataset
    plm = build_components(config, dataset).plm
    assert plm.num_frozen_layers == 0
    assert build_text_table(config, dataset, plm) is dataset.token_table(config["plm"])


@pytest.mark.parametrize("family", SEPARABLE)
@pytest.mark.parametrize("projection", ["per_prompt", "shared_kv"])
def test_fixed_weights_score_as_changing_ones_do(make_config, make_data, tiny_plms, tmp_path, family, projection):
    plm = str(tiny_plms[family])
    config = make_config(
        plm=plm,
        plm_interaction_layers=1,
        prompt_projection=projection,
        checkpoint_dir=str(tmp_path),
        plm_dropout=0.0,
    )
    dataset = make_data(config)[0]._dataset
    torch.manual_seed(0)
    model = ClickPrompt(config, dataset).eval()
    rows = rows_of(dataset, 40)
    expected = torch.sigmoid(model(rows)).detach()
    with torch.no_grad():
        scores = model.predict(rows)
        assert (model._cache is None) is (family in ("modernbert", "deberta", *CAUSAL))
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
        for parameter in model.parameters():
            parameter.add_(0.05)
        model.eval()
        torch.testing.assert_close(model.predict(rows), torch.sigmoid(model(rows)), rtol=0, atol=1e-6)
        assert (model.predict(rows) - expected).abs().max() > 1e-3
        model.load_state_dict({n: p * 0.9 for n, p in model.state_dict().items()})
        assert model._cache is None


@pytest.mark.parametrize("max_text_length", [None, 40, 12, 5])
def test_fixed_weights_score_texts_that_are_cut(make_config, make_data, tmp_path, monkeypatch, max_text_length):
    monkeypatch.setattr(
        "recbole_clickprompt.methods.clickprompt.inference.single_layer._ROWS_PER_BLOCK", 16
    )  # of 40
    config = make_config(plm_interaction_layers=1, max_text_length=max_text_length, checkpoint_dir=str(tmp_path))
    dataset = make_data(config)[0]._dataset
    torch.manual_seed(0)
    model = ClickPrompt(config, dataset).eval()
    rows = rows_of(dataset, 40)
    longest = int(model.text.lengths(rows).max())
    assert longest <= (max_text_length or longest)
    with torch.no_grad():
        torch.testing.assert_close(model.predict(rows), torch.sigmoid(model(rows).float()), rtol=0, atol=1e-6)
        assert model._cache is not None


def test_texts_that_are_too_much_for_memory_are_not_laid_out_and_told_once(
    make_config, make_data, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("recbole_clickprompt.methods.clickprompt.model._CACHE_BYTES", 1 << 10)
    config = make_config(plm_interaction_layers=1, checkpoint_dir=str(tmp_path))
    dataset = make_data(config)[0]._dataset
    model = ClickPrompt(config, dataset).eval()
    rows = rows_of(dataset, 40)
    with torch.no_grad():
        scores = model.predict(rows)
        assert model._cache is None
        torch.testing.assert_close(scores, torch.sigmoid(model(rows)), rtol=0, atol=1e-6)
        model.predict(rows)
    assert caplog.text.count("keys and values of all texts would take") == 1


def test_weights_that_were_fixed_in_one_precision_score_in_the_other(make_config, make_data, tmp_path):
    config = make_config(plm_interaction_layers=1, checkpoint_dir=str(tmp_path))
    dataset = make_data(config)[0]._dataset
    torch.manual_seed(0)
    model = ClickPrompt(config, dataset).eval()
    rows = rows_of(dataset, 40)
    with torch.no_grad():
        expected = torch.sigmoid(model(rows))
        for half in (True, False, True):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                scores = model.predict(rows).float()
                torch.testing.assert_close(torch.sigmoid(model(rows).float()), scores, rtol=0, atol=1e-6)
            torch.testing.assert_close(scores, expected, rtol=0, atol=2e-2 if half else 1e-6)


def test_a_copy_of_a_model_that_has_scored_scores_by_itself(make_config, make_data, tmp_path):
    config = make_config(plm_interaction_layers=1, checkpoint_dir=str(tmp_path))
    dataset = make_data(config)[0]._dataset
    model = ClickPrompt(config, dataset).eval()
    rows = rows_of(dataset)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model.predict(rows)
        twin = copy.deepcopy(model)
        torch.nn.init.zeros_(model.head[2].weight)
        torch.testing.assert_close(twin.predict(rows), expected, rtol=0, atol=0)
        assert twin._cache is not model._cache


def test_training_looks_nothing_up(make_config, make_data, tmp_path):
    config = make_config(plm_interaction_layers=1, checkpoint_dir=str(tmp_path))
    dataset = make_data(config)[0]._dataset
    model = ClickPrompt(config, dataset).eval()
    with torch.no_grad():
        model.predict(rows_of(dataset))
    assert model._cache is not None
    model.train()
    assert model._cache is None
    model.predict(rows_of(dataset))
    assert model._cache is None
