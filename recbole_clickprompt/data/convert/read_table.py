"""Reads a user's table of clicks or ratings, and tables of users and items; guesses what their columns are."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_clickprompt.data.convert.infer_schema import field_names
from recbole_clickprompt.data.convert.leaks import LeakScan, check_leaks
from recbole_clickprompt.data.convert.lists import choose_separator
from recbole_clickprompt.data.convert.named import read_named
from recbole_clickprompt.data.convert.negatives import NegativeSampler
from recbole_clickprompt.data.convert.oddities import repeated_rows
from recbole_clickprompt.data.convert.side_table import EntityFields, SideTable
from recbole_clickprompt.data.convert.stored_table import StoredTable
from recbole_clickprompt.data.convert.table_options import Columns, Features, Reading
from recbole_clickprompt.data.convert.table_scan import (
    RowFields,
    RowScan,
    counting_columns,
    guess_sources,
    one_to_one,
)
from recbole_clickprompt.data.convert.user_file import open_user_file
from recbole_clickprompt.data.convert.user_table import UserTable

__all__ = ["TableFiles", "read_user_table"]


@dataclass(frozen=True)
class TableFiles:
    """The files of a user's data.

    Attributes:
        rows: Clicks or ratings.
        entities: For ``user`` and ``item``, a file that describes them; may be empty.
    """

    rows: Path
    entities: Mapping[str, Path] = dataclasses.field(default_factory=dict)


def read_user_table(
    files: TableFiles,
    columns: Columns,
    reading: Reading,
    features: Features,
    folder: Path,
    *,
    negatives: int | None = None,
) -> UserTable:
    """Reads csv, tsv or Parquet files and guesses what their columns are.

    A column belongs to the user if every user has exactly one value of it, to the item if every item has, else to
    the row. Numbers with more than 200 different values are ``float``, lists ``token_seq``, all others ``token``.
    A ``token`` that is one-to-one with the user or the item is only text, as its embedding would be that of an id.

    Memory does not grow with the number of rows, and by 8 bytes for each user and item: rows, and hashes of what
    has to be compared, are on disk. To sample negatives takes more, see ``NegativeSampler``.

    Args:
        files: The files.
        columns: The columns of ids, labels and times.
        reading: How to read them.
        features: Options for the other columns.
        folder: An empty folder for temporary files, which the result is written from.
        negatives: Negatives to sample for each click; None if there are labels.

    Raises:
        DataError: A file or a column of it cannot be used, by line and column; or a column gives the label away.
        SettingError: The date format or the threshold is none.
    """
    features.check(columns)
    stored, sides = _open_files(files, columns, reading, features, folder)
    named = read_named(stored, columns, reading, folder)
    scan = RowScan(named, features, {source: side.all_ids for source, side in sides.items()}, folder)
    scans = [scan.columns, *(side.columns for side in sides.values())]
    separator = choose_separator((column for found in scans for column in found.lists()), stored.file)
    known = columns.fields(label="label" if named.threshold is None else "rating")
    names, renamed = field_names(named.names, known, stored.file)
    rows = RowFields(named, names, scan.columns.guess(separator))
    first_rows = {source: ids.first_rows() for source, ids in scan.ids.items()}
    notes = [*stored.notes, *named.notes, *(note for column in rows.columns.values() for note in column.notes)]
    notes += [*renamed, *counting_columns(stored, list(rows.columns))]
    notes += [
        *repeated_rows(named.rows - scan.distinct.count()),
        *scan.columns.list_notes(rows.columns, named.frames),
    ]
    entities: dict[str, EntityFields] = {}
    for source, side in sides.items():
        others = [name for other in entities.values() for pair in other.names.items() for name in pair]
        taken = {*names, *names.values(), *others}
        entities[source] = side.guess(separator, taken)
        notes += side.notes(entities[source], stored.file, len(first_rows[source]))
    sources, unique, leaks = _find_sources(rows, entities, first_rows, folder)
    tables: list[RowFields | EntityFields] = [rows, *entities.values()]
    columns_of = {field: name for table in tables for name, field in table.names.items()}
    kinds = {table.names[name]: column for table in tables for name, column in table.columns.items()}
    if leaks:
        notes += check_leaks(leaks, stored.file, columns_of, features.keep, exempt=unique)
    text_only = [field for field in kinds if columns_of[field] in features.text_only]
    for field, source in unique.items():
        if kinds[field].kind == "token" and columns_of[field] not in (*features.keep, *features.text_only):
            text_only.append(field)
            notes.append(
                f"{columns_of[field]}: one-to-one with the {source}'s id, so only language models read it, and it "
                "is no feature; --keep makes it one, --drop leaves it out"
            )
    named_fields = dict.fromkeys(["user_id", "item_id", *([] if columns.label else ["label"]), *known.values()])
    list_separators = {
        field: features.lists[column] for field, column in columns_of.items() if column in features.lists
    }
    return UserTable(
        words=_in_order_of_text({f: w for table in tables for f, w in table.words().items()}, sources),
        sources={**dict.fromkeys(named_fields, "inter"), **sources},
        types={
            **{field: "token" if field in ("user_id", "item_id") else "float" for field in named_fields},
            **{field: column.kind for field, column in kinds.items()},
        },
        log=[field for field, column in kinds.items() if column.log],
        text_only=text_only,
        separator=separator,
        list_separators=list_separators,
        column_names=_column_names(columns_of, names, features.drop),
        threshold=named.threshold,
        rows_read=stored.rows,
        rows=named.rows,
        first_row=_first_row(rows, entities.values()),
        negatives=NegativeSampler(rows.named_frames, first_rows["item"], named.rows, negatives)
        if negatives
        else None,
        facts=named.facts,
        notes=notes,
        _fields=rows,
        _first_rows=first_rows,
        _entities=entities,
    )


def _open_files(
    files: TableFiles, columns: Columns, reading: Reading, features: Features, folder: Path
) -> tuple[StoredTable, dict[str, SideTable]]:
    """The table of rows, and those of users and items by source, whose columns are checked."""
    sides = {
        source: SideTable(path, source, id_column, features, quoting=reading.quoting, folder=folder)
        for source, id_column in (("user", columns.user), ("item", columns.item))
        if (path := files.entities.get(source))
    }

    def check(file: str, names: list[str]) -> None:
        columns.check(file, names)
        tables = " and ".join([file, *(side.file for side in sides.values())])
        features.check_existing(tables, [*names, *(name for side in sides.values() for name in side.names)])

    source = open_user_file(files.rows, label=columns.label or "", quoting=reading.quoting)
    return StoredTable(source, folder, check, features.apply), sides


def _find_sources(
    rows: RowFields, entities: Mapping[str, EntityFields], first_rows: Mapping[str, np.ndarray], folder: Path
) -> tuple[dict[str, str], dict[str, str], LeakScan | None]:
    """As ``guess_sources``, also for the fields of tables of users and items."""
    sources, unique, leaks = guess_sources(rows, first_rows, folder)
    for source, entity in entities.items():
        sources |= dict.fromkeys(entity.names.values(), source)
        unique |= dict.fromkeys(one_to_one(entity.frames(), entity.id_field, folder), source)
        if leaks:
            leaks.add_entities(source, entity.id_field, entity.frames())
    return sources, unique, leaks


def _in_order_of_text(words: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, str]:
    """Field: its name in words; the user's fields, the item's and the row's, without label and time."""
    of = {source: [f for f, found in sources.items() if found == source] for source in ("user", "item", "inter")}
    return {field: words[field] for field in ("user_id", *of["user"], "item_id", *of["item"], *of["inter"])}


def _column_names(
    columns_of: Mapping[str, str], own: Mapping[str, str], dropped: Iterable[str]
) -> dict[str, str | None]:
    """Column: its field, for columns of ids and those that have another name; None for ``dropped`` ones.

    A column that several tables have is that of the table of rows, by ``own``; the others' go by their fields.
    """
    tables_with = Counter(columns_of.values())
    names: dict[str, str | None] = {
        column: field
        for field, column in columns_of.items()
        if (tables_with[column] == 1 or own.get(column) == field)
        and (column != field or field in ("user_id", "item_id"))
    }
    return {**names, **dict.fromkeys(dropped)}


def _first_row(fields: RowFields, entities: Iterable[EntityFields]) -> dict[str, object]:
    """Field: its value in the first row, with the features of its user and its item."""
    row = next(frame for frame in fields.frames() if len(frame)).row(0, named=True)
    for entity in entities:
        found = (frame.filter(frame[entity.id_field] == row[entity.id_field]) for frame in entity.frames())
        match = next((frame.row(0, named=True) for frame in found if len(frame)), {})
        row |= {field: match.get(field) for field in entity.names.values()}
    return row
