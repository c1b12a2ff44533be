"""Checks of the fields in a data set's files: unique names, and equal fields in all parts of a split."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.settings.values import Settings

__all__ = ["FieldOrigin", "check_header", "check_names", "check_parts", "quoted"]


class FieldOrigin(NamedTuple):
    """Where a loaded field comes from.

    Attributes:
        path: The file.
        source: The kind of file, such as ``inter``.
        type: The type in the header; ``token`` for a field in ``whole_text_fields``.
    """

    path: Path
    source: str
    type: str


def quoted(names: Collection[str]) -> str:
    """Names in quotes, so that blanks are visible; ``none`` if there are none."""
    return ", ".join(map(repr, names)) or "none"


def check_header(header: Collection[str], path: Path, source: str, config: Settings) -> None:
    """Rejects a file without the id fields that it needs.

    Args:
        header: New names of all fields in the file, loaded or not.
        path: The file.
        source: The kind of file, such as ``inter``.
        config: Settings of the run.

    Raises:
        DataError: An id field is missing; lists the fields of the file.
    """
    needed = {"inter": ("USER_ID_FIELD", "ITEM_ID_FIELD"), "user": ("USER_ID_FIELD",), "item": ("ITEM_ID_FIELD",)}
    for setting in needed.get(source, ()):
        if config[setting] not in header:
            raise DataError(
                f"{path} has no field {config[setting]!r}, which {setting} names; its fields are {quoted(header)}"
                f"; set {setting} or rename_fields"
            )


def check_names(
    types: Mapping[str, str], path: Path, source: str, origins: Mapping[str, FieldOrigin], config: Settings
) -> None:
    """Rejects a field that would overwrite the values of another one, because RecBole joins files by field name.

    Args:
        types: Types of the loaded fields of the file.
        path: The file.
        source: The kind of file, such as ``inter``.
        origins: Fields loaded from other files before.
        config: Settings of the run.

    Raises:
        DataError: Another file has a field of the same name, or the file is not ``.inter`` and contains the label.
    """
    if source == "inter":
        return
    id_field = {"user": config["USER_ID_FIELD"], "item": config["ITEM_ID_FIELD"]}.get(source)
    labels = {config["LABEL_FIELD"]: "LABEL_FIELD", **dict.fromkeys(config["threshold"] or (), "threshold")}
    for field in types:
        if field == id_field:
            continue
        remedy = _remedy(field, source, config)
        if field in origins:
            raise DataError(f"both {path} and {origins[field].path} have a field {field!r}; {remedy}")
        if field in labels:
            raise DataError(
                f"{path} has a field {field!r}, which {labels[field]} names, but labels must be in the .inter "
                f"file; {remedy}{_free_label(field, config)}"
            )


def _free_label(field: str, config: Settings) -> str:
    return (
        ", or set LABEL_FIELD to a name that no file has"
        if config["threshold"] and field == config["LABEL_FIELD"]
        else ""
    )


def _remedy(field: str, source: str, config: Settings) -> str:
    if source in ("user", "item"):
        name = f"rename it with `rename_fields: {{{source}: {{{field}: {source}_{field}}}}}`"
    else:  # rename_fields does not apply to additional files
        name = f"rename it to {source}_{field} in the header of the file"
        ids = {config["USER_ID_FIELD"]: "alias_of_user_id", config["ITEM_ID_FIELD"]: "alias_of_item_id"}
        if field in ids:
            name += f" and list the new name in {ids[field]}"
    return f"{name}, or leave it out with load_col"


def check_parts(types: Mapping[str, str], path: Path, origins: Mapping[str, FieldOrigin]) -> None:
    """Rejects a part of a ready-made split whose fields differ from those of the first part.

    Args:
        types: Types of the loaded fields of the part.
        path: The file.
        origins: Fields of the first part; empty if this is the first part.

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
