"""The text of a user's profile: the user's features, and the items that the user liked."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_clickprompt.text.text import FieldText

__all__ = ["item_names", "profile_text"]


def item_names(features: Sequence[FieldText]) -> list[str]:
    """Items in short, such as ``Se7en (1995, Crime)``: the first feature, and the others in parentheses.

    Args:
        features: Features of items, of one key.

    Returns:
        By id; empty where all features are missing, as for id 0.
    """
    names = []
    for codes in zip(*(feature.codes.tolist() for feature in features), strict=True):
        values = [
            feature.value(code).strip().removesuffix(".")
            for feature, code in zip(features, codes, strict=True)
            if code >= 0
        ]
        more = f" ({', '.join(values[1:])})" if len(values) > 1 else ""
        names.append(values[0] + more if values else "")
    return names


def profile_text(features: str, liked: Sequence[str]) -> str:
    """A profile, such as ``age is 24. Liked: Se7en (1995, Crime); Heat (1995, Action).``

    Args:
        features: The user's features as sentences; may be empty.
        liked: Names of items, oldest first; those without a name are left out.
    """
    named = [name for name in liked if name]
    return " ".join(filter(None, [features, f"Liked: {'; '.join(named)}." if named else ""]))
