"""The fields of a data set's files: all of them have names of their own, and the parts of a split are alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recbole_clickprompt.errors import DataError

__all__ = ["FieldOrigin", "check_header", "check_names", "check_parts", "quoted"]


class FieldOrigin(NamedTuple):
    """Where a loaded field comes from.

    Attributes:
        path: The file.
        source: Its kind, such as ``inter``.
        type: As in the header; ``token`` for an unsplit field.
    """

    path: Path
    source: str
    type: str


def quoted(names: Collection[str]) -> str:
    """Names in quotes, so that blanks in them show."""
    return ", ".join(map(repr, names)) or "none"


def check_header(header: Collection[str], path: Path, source: str, config: Any) -> None:
    """Refuses a file without the ids that rows are looked up by.

    Args:
        header: All fields of the file, loaded or not, by their new names.
        path: The file.
        source: Its kind, such as ``inter``.
        config: RecBole's.

    Raises:
        DataError: It has no such field; names those it has.
    """
    needed = {"inter": ("USER_ID_FIELD", "ITEM_ID_FIELD"), "user": ("USER_ID_FIELD",), "item": ("ITEM_ID_FIELD",)}
    for setting in needed.get(source, ()):
        if config[setting] not in header:
            raise DataError(
                f"{path} has no field {config[setting]!r}, but {setting} names it; its fields are {quoted(header)}"
                f"; set {setting} or rename_fields"
            )


def check_names(
    types: Mapping[str, str], path: Path, source: str, origins: Mapping[str, FieldOrigin], config: Any
) -> None:
    """Refuses a field that would take the place of another one's values, as RecBole joins files by name.

    Args:
        types: The loaded fields of the file.
        path: The file.
        source: Its kind, such as ``inter``.
        origins: What was loaded of the files before.
        config: RecBole's.

    Raises:
        DataError: Another file has a field of this name, or it is the label's and the file is not ``.inter``.
    """
    if source == "inter":
        return
    own_id = {"user": config["USER_ID_FIELD"], "item": config["ITEM_ID_FIELD"]}.get(source)
    labels = {config["LABEL_FIELD"]: "LABEL_FIELD", **dict.fromkeys(config["threshold"] or (), "threshold")}
    for field in types:
        if field == own_id:
            continue
        remedy = _remedy(field, source, config)
        if field in origins:
            raise DataError(f"{path} has a field {field!r}, and so has {origins[field].path}; {remedy}")
        if field in labels:
            raise DataError(
                f"{path} has a field {field!r}, which {labels[field]} names, but labels belong to the rows of the "
                f".inter file; {remedy}{_free_label(field, config)}"
            )


def _free_label(field: str, config: Any) -> str:
    return (
        ", or set LABEL_FIELD to a name that no file has"
        if config["threshold"] and field == config["LABEL_FIELD"]
        else ""
    )


def _remedy(field: str, source: str, config: Any) -> str:
    if source in ("user", "item"):
        name = f"give it another name with `rename_fields: {{{source}: {{{field}: {source}_{field}}}}}`"
    else:  # rename_fields takes no further files
        name = f"call it {source}_{field} in the header of the file"
        ids = {config["USER_ID_FIELD"]: "alias_of_user_id", config["ITEM_ID_FIELD"]: "alias_of_item_id"}
        if field in ids:
            name += f" and list that in {ids[field]}"
    return f"{name}, or leave it out with load_col"


def check_parts(types: Mapping[str, str], path: Path, origins: Mapping[str, FieldOrigin]) -> None:
    """Refuses a part of an exact split whose fields are not those of the first part.

    Args:
        types: The loaded fields of the part.
        path: The file.
        origins: The fields of the first part; none where this is the first.

    Raises:
        DataError: A field or its type differs.
    """
    for field in dict.fromkeys([*origins, *types]) if origins else ():
        first = next(iter(origins.values())).path
        if field not in types or field not in origins:
            lacking, having = (path, first) if field not in types else (first, path)
            raise DataError(
                f"{lacking} has no field {field!r}, which {having} has; all parts of an exact split need the same "
                "fields: add it, or leave it out with load_col"
            )
        if types[field] != origins[field].type:
            raise DataError(
                f"{path} has {field}:{types[field]} in the header, but {first} has {field}:{origins[field].type}; "
                "all parts of an exact split need the same types: correct the header"
            )
