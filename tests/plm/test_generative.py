"""Language models that generate text, whole and with some of their layers."""

import json
import shutil

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.plm.generative import load_generative
from tests.plm.generative_models import FAMILIES, save_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("generative")
    return {family: save_model(root / family, family) for family in FAMILIES}


def inputs(config):
    ids = torch.arange(4, 24).reshape(2, 10)
    return {"input_ids": ids, **({"decoder_input_ids": ids[:, :6] + 3} if config.is_encoder_decoder else {})}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_model_that_transformers_loads(folders, family):
    model, tokenizer, encoder_decoder = load_generative(str(folders[family]))
    kind = tf.AutoModelForSeq2SeqLM if encoder_decoder else tf.AutoModelForCausalLM
    other = kind.from_pretrained(folders[family])
    assert encoder_decoder == (family in ("t5", "bart"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model(**inputs(model.config)).logits, other(**inputs(model.config)).logits)
    assert tokenizer.eos_token_id == 0
    assert tokenizer.pad_token_id == (258 if family == "qwen2" else 0)  # Qwen's tokenizer has one by default


@pytest.mark.parametrize("family", FAMILIES)
def test_kept_layers_are_those_of_the_whole_model(folders, family, tmp_path):
    reduced, tokenizer, _ = load_generative(str(folders[family]), num_layers=3)
    # the reference: the other layers' weights removed from the file, in a folder of its own
    shutil.copytree(folders[family], tmp_path / "cut")
    weights = {}
    for name, tensor in load_file(folders[family] / "model.safetensors").items():
        layer = next((int(part) for part in name.split(".") if part.isdigit()), 0)
        if layer < 3:
            weights[name] = tensor
    save_file(weights, tmp_path / "cut/model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "cut/config.json").read_text())
    for key in ("num_hidden_layers", "n_layer", "num_layers", "num_decoder_layers", "encoder_layers",
                "decoder_layers"):  # fmt: skip
        if key in config:
            config[key] = 3
    config.pop("layer_types", None)
    (tmp_path / "cut/config.json").write_text(json.dumps(config))
    expected = load_generative(str(tmp_path / "cut")).model
    given = inputs(reduced.config)
    assert torch.equal(reduced(**given).logits, expected(**given).logits)
    # keys and values are cached by the number of the layer
    prompt = {"input_ids": given["input_ids"], "attention_mask": torch.ones(2, 10, dtype=torch.long)}
    greedy = {"do_sample": False, "max_new_tokens": 8, "pad_token_id": 0, "eos_token_id": 1}
    cached = reduced.generate(**prompt, **greedy, use_cache=True)
    assert torch.equal(cached, reduced.generate(**prompt, **greedy, use_cache=False))
    # and it can be saved and loaded like any other model
    reduced.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_generative(str(tmp_path / "saved")).model
    assert torch.equal(again(**given).logits, expected(**given).logits)


@pytest.mark.parametrize("num_layers", [0, 7])
def test_a_number_of_layers_that_does_not_exist(folders, num_layers):
    with pytest.raises(WeightsError, match=f"student_num_layers is {num_layers}, but .* has 6 layers"):
        load_generative(str(folders["llama"]), num_layers=num_layers)


def changed(folder, target, **values):
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text()) | values
    (target / "config.json").write_text(json.dumps(config))
    return str(target)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 64}, "hidden_size is 64"),
        ({"num_hidden_layers": 90_000}, "num_hidden_layers is 90000; expected is 1 to 6"),
        ({"num_hidden_layers": 9_000_000}, "expected is at most 100000"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"quantization_config": {"quant_method": "gguf"}}, "quantization_config"),
        ({"attn_implementation": "someone/kernels"}, "downloaded code"),
        ({"model_type": "no-such-family"}, "does not know"),
        ({"model_type": None}, "does not know"),
    ],
)
def test_invalid_configs_are_refused_before_a_model_is_built(folders, tmp_path, values, message):
    with pytest.raises(WeightsError, match=message):
        load_generative(changed(folders["llama"], tmp_path / "model", **values))


def test_masked_language_models_do_not_generate(tiny_bert):
    with pytest.raises(WeightsError, match="'bert' model, which does not generate text"):
        load_generative(str(tiny_bert))


def test_missing_weights_and_tokens_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders["llama"], tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"model.layers.3.mlp.up_proj.weight are? missing"):
        load_generative(str(folder))
    folder = shutil.copytree(folders["llama"], tmp_path / "endless")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match="no end token"):
        load_generative(str(folder))


def test_a_padding_token_of_its_own_is_kept(tmp_path):
    folder = save_model(tmp_path / "model", "llama", layers=1, pad_token="<pad>")
    assert load_generative(str(folder)).tokenizer.pad_token_id == 1
