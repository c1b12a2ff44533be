"""Texts about users and items by themselves: their features without the id, in the words of rows' text."""

from __future__ import annotations

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.text.profile_text import item_names, profile_text
from recbole_clickprompt.text.source import TextSource
from recbole_clickprompt.text.text import FieldText, Textualizer

__all__ = ["descriptions", "profile_descriptions", "short_names"]


def descriptions(dataset: TextSource, level: str) -> list[str]:
    """What the text of rows says about each item or user, without the id: ``"Title is Se7en. Genre is Crime."``

    Args:
        dataset: A part of the data set.
        level: ``item`` or ``user``.

    Returns:
        By id; empty for id 0 and where all values are missing.

    Raises:
        SettingError: ``text_fields`` has no field of items.
    """
    fields = _fields(dataset, level)
    if not fields and level == "item":
        raise SettingError(
            f"text_fields has no field of items other than {dataset.iid_field}, so there is no text about them; "
            "name features of items in it"
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
