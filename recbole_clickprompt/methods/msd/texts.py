"""The texts that the student reads, the same in distillation and as encoder of users and items.

::

    item:  Item: Title is Se7en. Genre is Crime.\\nReasoning:
    user:  Profile: Age is 25-34. Liked: Se7en (Crime); Heat (Action).\\nReasoning:

Letters: Z tokens of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["student_tokens"]

_PREFIX = {"item": "Item: ", "user": "Profile: "}
_SUFFIX = "\nReasoning:"


def student_tokens(
    tokenizer: PreTrainedTokenizerBase,
    level: str,
    texts: Sequence[str],
    *,
    max_length: int,
    encoder_decoder: bool,
) -> list[list[int]]:
    """The token ids that the student reads for some texts.

    Texts that are too long lose their end, but never ``Reasoning:``. The parts are tokenized one by one, so that a
    cut text has the same tokens up to the cut.

    Args:
        tokenizer: The student's.
        level: ``item`` or ``user``.
        texts: As ``descriptions`` writes them.
        max_length: Most tokens per text, all parts and special tokens included.
        encoder_decoder: Whether the student is an encoder-decoder, whose texts end with its special tokens; a
            causal student continues the text.

    Returns:
        A list of Z ids per text.

    Raises:
        SettingError: ``max_length`` has no room for a text.
    """
    begin, end = _special_tokens(tokenizer)
    suffix = tokenizer(_SUFFIX, add_special_tokens=False)["input_ids"] + (end if encoder_decoder else [])
    room = max_length - len(begin) - len(suffix)
    if room < 1:
        raise SettingError(
            f"max_text_length is {max_length}, but the student needs {len(begin) + len(suffix)} tokens around "
            "each text; set a larger one"
        )
    if not texts:
        return []
    bodies = tokenizer([_PREFIX[level] + text for text in texts], add_special_tokens=False)["input_ids"]
    return [begin + body[:room] + suffix for body in bodies]


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer adds before and after a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
    return whole[:start], whole[start + len(plain) :]
