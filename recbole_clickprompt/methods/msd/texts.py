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
from recbole_clickprompt.text.profile_text import item_names, profile_text
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.text import FieldText, Textualizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["descriptions", "profile_descriptions", "short_names", "student_tokens"]

_PREFIX = {"item": "Item: ", "user": "Profile: "}
_SUFFIX = "\nReasoning:"


def descriptions(dataset: TextSource, level: str) -> list[str]:
    """What the text of rows says about each item or user, without the id: ``"Title is Se7en. Genre is Crime."``

    Args:
        dataset: A part of the data set.
        level: ``item`` or ``user``.

    Returns:
        By id; empty for id 0 and where all values are missing. An empty text is a legal input of the student.

    Raises:
        SettingError: ``text_fields`` has no field of items.
    """
    fields = _fields(dataset, level)
    if not fields and level == "item":
        raise SettingError(
            f"text_fields has no field of items other than {dataset.iid_field}, so a student would read nothing "
            "about them; name features of items"
        )
    key = dataset.iid_field if level == "item" else dataset.uid_field
    sentences = Textualizer(fields)
    return ["", *(sentences.sentence({key: number}) for number in range(1, dataset.num(key)))]


def _fields(dataset: TextSource, level: str) -> list[FieldText]:
    key = dataset.iid_field if level == "item" else dataset.uid_field
    named = zip(dataset.config["text_fields"] or (), dataset.textualizer().fields, strict=True)
    return [field for name, field in named if field.key == key and name != key]


def short_names(dataset: TextSource) -> list[str]:
    """Items in short by id, such as ``Se7en (1995, Crime)``; empty for id 0 and where all values are missing."""
    return item_names(_fields(dataset, "item"))


def profile_descriptions(dataset: TextSource) -> list[str]:
    """The text of each profile of users: the user's fields, and the items that the profile shows, oldest first.

    Args:
        dataset: A part of the data set with ``user_profiles``.

    Returns:
        By number of the profile, as the teacher reads it too.
    """
    profiles = dataset.user_profiles
    assert profiles is not None  # user_knowledge is not "none"
    users, names = descriptions(dataset, "user"), short_names(dataset)
    return [
        profile_text(users[user], [names[item] for item in profiles.items_of(number)])
        for number, user in enumerate(profiles.users.tolist())
    ]


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
