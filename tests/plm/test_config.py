"""A PLM's config is held to its stored weights before a model is built."""

import json
import shutil

import pytest
import transformers as tf
from safetensors.torch import load_file, save_file

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.architectures import build_adapter
from recbole_clickprompt.plm.loading import load_plm, load_tokenizer, longest_text

HUGE = 10**9


def changed(folder, target, **values):
    """A copy of a PLM folder with other values in its config."""
    shutil.copytree(folder, target)
    content = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**content, **values}))
    return target


def load(folder):
    return load_plm(folder, num_layers=None, dropout=None)


CASES = [
    ("bert", "num_hidden_layers", 0, "num_hidden_layers is 0; expected is a whole number from 1 on"),
    ("bert", "num_hidden_layers", 10**7, "num_hidden_layers is 10000000; expected is at most 100000"),
    (
        "bert",
        "num_hidden_layers",
        4,
        "num_hidden_layers is 4; expected is 1 to 3, as many as its weight files contain",
    ),
    ("distilbert", "n_layers", 90_000, "n_layers is 90000; expected is 1 to 3"),
    ("gpt2", "n_layer", -1, "n_layer is -1; expected is a whole number from 1 on"),
    ("bart", "encoder_layers", HUGE, "encoder_layers is 1000000000; expected is at most"),
    ("bart", "decoder_layers", 50, "decoder_layers is 50; expected is 1 to 3"),
    ("modernbert", "num_hidden_layers", HUGE, "num_hidden_layers is 1000000000; expected is at most"),
    ("albert", "num_hidden_layers", 10**5, "num_hidden_layers is 100000; expected is 1 to 256"),
    ("albert", "num_hidden_groups", 10**5, "num_hidden_groups is 100000; expected is 1 to 256"),
    ("bert", "num_labels", HUGE, "num_labels is 1000000000; expected is at most"),
    ("bert", "num_hidden_layers", True, "num_hidden_layers is True; expected is a whole number"),
    ("bert", "num_hidden_layers", None, "num_hidden_layers is None; expected is a whole number"),
    ("bert", "hidden_size", "16", "hidden_size is '16'; expected is a whole number from 1 on"),
    ("bert", "hidden_size", 16.0, "hidden_size is 16.0; expected is a whole number"),
    ("bert", "hidden_size", [16], r"hidden_size is \[16\]; expected is a whole number"),
    ("bert", "hidden_size", HUGE, r"hidden_size is 1000000000, so .* but it is stored with \(132, 16\)"),
    ("bert", "hidden_size", 10**30, "config.json does not describe a model that can be built"),
    ("bert", "vocab_size", HUGE, r"vocab_size is 1000000000, so .* but it is stored with \(132, 16\)"),
    ("bert", "vocab_size", 0, "vocab_size is 0; expected is a whole number from 1 on"),
    ("bert", "intermediate_size", HUGE, "intermediate_size is 1000000000, so .*intermediate"),
    ("bert", "max_position_embeddings", HUGE, "max_position_embeddings is 1000000000, so .*position_embeddings"),
    ("bert", "max_position_embeddings", -5, "max_position_embeddings is -5; expected is a whole number"),
    ("bert", "type_vocab_size", HUGE, "type_vocab_size is 1000000000, so .*token_type"),
    ("electra", "embedding_size", HUGE, "embedding_size is 1000000000, so "),
    ("gpt2", "n_embd", 24, "n_embd is 24, so "),
    ("gpt2", "n_inner", HUGE, "n_inner is 1000000000, so "),
    ("gpt2", "n_positions", "128", "n_positions is '128'; expected is a whole number"),
    ("deberta", "position_buckets", HUGE, "position_buckets|config.json"),
    ("bert", "num_attention_heads", 3, "hidden_size is 16, which num_attention_heads, 3, does not divide"),
    ("distilbert", "n_heads", 5, "dim is 16, which n_heads, 5, does not divide"),
    ("bart", "decoder_attention_heads", 3, "d_model is 16, which decoder_attention_heads, 3, does not divide"),
    ("bert", "num_attention_heads", 0, "num_attention_heads is 0; expected is a whole number from 1 on"),
    ("llama", "num_key_value_heads", 3, "num_attention_heads is 4, which num_key_value_heads, 3, does not divide"),
    ("qwen2", "num_key_value_heads", 0, "num_key_value_heads is 0; expected is a whole number from 1 on"),
    ("qwen3", "head_dim", HUGE, "so layers.0.self_attn.q_proj.weight would have shape"),
    ("mistral", "intermediate_size", HUGE, "intermediate_size is 1000000000, so "),
    ("t5", "d_kv", HUGE, "so encoder.block.0.layer.0.SelfAttention.q.weight would have shape"),
    ("t5", "num_layers", 50, "num_layers is 50; expected is 1 to 3"),
    ("t5", "decoder_start_token_id", None, "decoder_start_token_id is missing, which a t5 model needs"),
    ("bert", "pad_token_id", 132, r"pad_token_id is 132, but there are 132 tokens \(vocab_size\)"),
    ("bert", "pad_token_id", -1, "pad_token_id is -1; expected is a whole number from 0 on"),
    ("bert", "pad_token_id", "0", "pad_token_id is '0'; expected is a whole number from 0 on"),
    ("roberta", "pad_token_id", None, "pad_token_id is missing, which a roberta model needs"),
    ("roberta", "pad_token_id", 130, "max_position_embeddings is 130, too few for a text"),
    ("bart", "decoder_start_token_id", 10**6, "decoder_start_token_id is 1000000, but there are"),
    ("bart", "decoder_start_token_id", None, "decoder_start_token_id is missing, which a bart model needs"),
    ("bert", "hidden_dropout_prob", float("nan"), "hidden_dropout_prob is nan; expected is a number from 0 to 1"),
    ("bert", "attention_probs_dropout_prob", 1.5, "is 1.5; expected is a number from 0 to 1"),
    ("bert", "hidden_dropout_prob", "0.1", "hidden_dropout_prob is '0.1'; expected is a number from 0 to 1"),
    ("bert", "hidden_dropout_prob", None, "hidden_dropout_prob is None; expected is a number from 0 to 1"),
    ("bert", "layer_norm_eps", "1e-12", "layer_norm_eps is '1e-12'; expected is a number"),
    ("bert", "layer_norm_eps", float("inf"), "layer_norm_eps is inf; expected is a number"),
    ("bert", "hidden_act", "nonsense", "config.json does not describe a model that can be built: .*nonsense"),
    ("bert", "hidden_act", 3, "hidden_act"),
    ("bert", "is_decoder", "no", "is_decoder is 'no'; expected is true or false"),
    ("bert", "model_type", ["bert"], "its config.json cannot be read"),
    ("bert", "transformers_weights", "sub/x.safetensors", "contains transformers_weights, which would be read"),
    ("bert", "configuration_files", ["config.5.0.0.json"], "contains configuration_files, which would be read"),
    ("bert", "quantization_config", {"quant_method": "fp8"}, "contains quantization_config, but only weights"),
    ("bert", "attn_implementation", "some/kernel", "attn_implementation is 'some/kernel', which would be"),
]


@pytest.mark.parametrize(("family", "key", "value", "message"), CASES)
def test_a_value_that_cannot_be_is_refused_in_one_line(tiny_plms, tmp_path, family, key, value, message):
    folder = changed(tiny_plms[family], tmp_path / "plm", **{key: value})
    for read in (load, load_tokenizer, longest_text):
        with pytest.raises(WeightsError, match=message) as error:
            read(folder)
        assert "config.json" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", ["mistral", "qwen2", "qwen3"])
def test_no_window_is_written_as_null(tiny_plms, tmp_path, family):
    layers = {} if family == "mistral" else {"layer_types": None}
    folder = changed(tiny_plms[family], tmp_path / "plm", sliding_window=None, num_key_value_heads=2, **layers)
    adapter = build_adapter(load(folder).encoder)
    assert [adapter.layer(index).window for index in range(3)] == [None, None, None]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"a": NaN', "[" * 10**5, "\ufeff{}"])
def test_a_config_that_is_no_json_object_is_refused(tiny_bert, tmp_path, content):
    folder = changed(tiny_bert, tmp_path / "plm")
    (folder / "config.json").write_text(content)
    with pytest.raises(WeightsError, match="config.json (cannot be read as JSON|must contain a JSON object)"):
        load(folder)


@pytest.mark.parametrize("value", [[1, 2], -1, 0, {}])
def test_a_tokenizer_for_texts_of_no_length_is_refused(tiny_bert, tmp_path, value):
    folder = shutil.copytree(tiny_bert, tmp_path / "plm")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": value}))
    with pytest.raises(WeightsError, match="model_max_length|cannot be read"):
        load_tokenizer(folder)


def test_a_tokenizer_with_more_tokens_than_the_table_is_refused_with_both_numbers(tiny_bert, tmp_path):
    folder = changed(tiny_bert, tmp_path / "plm")
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["one", "more"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(WeightsError, match="has token ids up to 133, but config.json's vocab_size is 132"):
        load_tokenizer(folder)


def test_a_config_of_a_far_larger_model_than_the_weights_is_refused(tiny_bert, tmp_path):
    folder = changed(tiny_bert, tmp_path / "plm", hidden_size=2**20, num_attention_heads=2)
    weights = {f"other.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="describes a model of .* parameters, but its weight files contain"):
        load(folder)
