"""``plm: hashed``: a small BERT with random weights and a tokenizer for numbers, made on this machine.

Some data sets publish words as numbers, such as KDD Cup 2012, so no pretrained language model can read them. This
transformer knows no language: it is trained from scratch on the data. A number is one token, its value modulo
10,000, so numbers that are equal modulo 10,000 share an embedding (the hashing trick). Other words are spelled
letter by letter, apart from those that the sentences of ``props/dataset/kdd2012.yaml`` consist of.

The folder is an ordinary one of transformers, in the user's cache. It is made again where it is missing: weights
depend on the seed only.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import DataError, StorageError
from recbole_clickprompt.files import locked, new_folder, user_cache
from recbole_clickprompt.plm.weight_files import first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["NUM_BUCKETS", "find_hashed"]

NUM_BUCKETS = 10_000
_VERSION = 1  # to be raised with every change of tokenizer, sizes or weights
_SPECIAL = {
    "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"
}  # fmt: skip
_WORDS = (
    "above", "ad", "advertiser", "age", "depth", "description", "female", "gender", "id", "is", "keyword", "male",
    "position", "query", "title", "unknown",
)  # fmt: skip
_MAX_LENGTH = 512
_STANDARD_DEVIATION = 0.02
_SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": _MAX_LENGTH,
}


def find_hashed(seed: int) -> Path:
    """The folder of the model with the weights of a seed; made if it does not exist.

    Args:
        seed: Seed of the initial weights.

    Returns:
        A folder in ``$XDG_CACHE_HOME/recbole_clickprompt`` (``~/.cache`` if the variable is not set).

    Raises:
        StorageError: The cache folder is not writable.
    """
    folder = user_cache() / f"hashed-{_VERSION}-seed-{seed}"
    if folder.is_dir():
        return folder
    try:
        with locked(folder):
            if not folder.is_dir():  # another process may have made it meanwhile
                with new_folder(folder) as work:
                    _make(work, seed)
    except (DataError, StorageError, OSError) as error:
        raise StorageError(
            f"plm hashed: {folder} cannot be written: {first_line(error)}; free space, or set the environment "
            "variable XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _make(folder: Path, seed: int) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = _tokenizer()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=_MAX_LENGTH, **_SPECIAL)
    fast.save_pretrained(folder)
    # Written by hand, so that equal seeds give equal bytes with every version of transformers
    config = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "initializer_range": _STANDARD_DEVIATION,
        "vocab_size": tokenizer.get_vocab_size(),
        "pad_token_id": fast.pad_token_id,
        **_SIZES,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _write_weights(folder, config, seed)


def _write_weights(folder: Path, config: dict[str, object], seed: int) -> None:
    """Writes BERT's initial weights, which are the same on every machine."""
    import numpy as np
    import torch
    from safetensors.numpy import save_file
    from transformers import BertConfig, BertForMaskedLM

    with torch.device("meta"):  # only for the names and shapes
        shapes = {
            name: tuple(weight.shape) for name, weight in BertForMaskedLM(BertConfig(**config)).named_parameters()
        }
    random, weights = np.random.RandomState(seed % (1 << 32)), {}  # RandomState's numbers never change
    for name, shape in sorted(shapes.items()):
        if name.endswith("bias"):
            weights[name] = np.zeros(shape, dtype=np.float32)
        elif "LayerNorm" in name:
            weights[name] = np.ones(shape, dtype=np.float32)
        else:
            weights[name] = (_STANDARD_DEVIATION * random.standard_normal(shape)).astype(np.float32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _tokenizer() -> Tokenizer:
    """Numbers without the digits before the last four and without leading zeros, whole; other words as letters."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    digits = len(str(NUM_BUCKETS - 1))
    characters = [character for character in string.printable if character.isprintable() and character != " "]
    continued = [f"##{character}" for character in string.ascii_lowercase + string.digits]
    pieces = dict.fromkeys((*_SPECIAL.values(), *map(str, range(NUM_BUCKETS)), *characters, *continued, *_WORDS))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=_SPECIAL["unk_token"]))
    begin, end = r"(?<![^\W_])", r"(?![^\W_])"  # of a number: no letter or digit is next to it
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.BertNormalizer(lowercase=True),
            normalizers.Replace(Regex(f"{begin}[0-9]+(?=[0-9]{{{digits}}}{end})"), ""),
            normalizers.Replace(Regex(f"{begin}0+(?=[0-9]+{end})"), ""),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cls, sep = _SPECIAL["cls_token"], _SPECIAL["sep_token"]
    tokenizer.post_processor = processors.BertProcessing((sep, vocabulary[sep]), (cls, vocabulary[cls]))
    return tokenizer
