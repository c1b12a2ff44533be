"""Where the weights of a language model are from, and under which license."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["Origin", "origin_of"]


class Origin(NamedTuple):
    """Where a language model is from.

    Attributes:
        name: A name without a path.
        hub_id: Its id on the Hugging Face hub; empty if it is not known to be there.
        license: What is known of the license of its weights, in words.
    """

    name: str
    hub_id: str
    license: str


_APACHE = "Apache License 2.0"
_KNOWN = {
    "minilm": Origin("minilm", "sentence-transformers/all-MiniLM-L6-v2", _APACHE),
    "smollm2": Origin("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct", _APACHE),
    "hashed": Origin("hashed", "", "none: trained from scratch, without weights of others"),
}
_IN_CACHE = re.compile(r"models--(.+?)--(.+)")  # folder of a repository in the cache of the hub


def origin_of(name: str) -> Origin:
    """The origin of a language model.

    Args:
        name: As for ``find_plm``, or the folder that ``kept_plm`` found in the cache of the hub.
    """
    if name in _KNOWN:
        return _KNOWN[name]
    path = Path(name).expanduser()
    cached = [match for part in path.parts if (match := _IN_CACHE.fullmatch(part))]
    if path.is_dir() and not cached:
        return Origin(path.resolve().name, "", "not known; it is that of the model in this folder")
    hub_id = "/".join(cached[-1].groups()) if cached else name
    return Origin(hub_id, hub_id, f"that of https://huggingface.co/{hub_id}")
