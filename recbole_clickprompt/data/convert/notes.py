"""Notes of a converter on odd values that it keeps unchanged, because published data cannot be corrected."""

from __future__ import annotations

import polars as pl

from recbole_clickprompt.data.convert.encoding import MOJIBAKE

__all__ = ["missing_descriptions", "mojibake_notes"]


def missing_descriptions(ids: pl.Series, known: pl.Series, what: str, file: str) -> list[str]:
    """A note on those of ``ids`` (of ``what``: "items") that are not among ``known``, the ids of ``file``."""
    lacking = ids.filter(~ids.is_in(known.implode()))
    if not len(lacking):
        return []
    return [f"{len(lacking)} of {len(ids)} {what} are not in {file}, the first of them {lacking[0]!r}: no text"]


def mojibake_notes(frame: pl.DataFrame, key: str) -> list[str]:
    """Notes on texts such as "CafÃ©", which are kept unchanged; by column, with the ``key`` of the first one."""
    notes = []
    for name in (name for name, dtype in frame.schema.items() if dtype == pl.String and name != key):
        rows = frame[name].str.contains(MOJIBAKE.pattern).fill_null(False).arg_true()
        if len(rows):
            first = frame.row(int(rows[0]), named=True)
            notes.append(
                f"{len(rows)} values of {name} look as if they had been decoded wrongly and are kept, the first "
                f"of them {first[name][:60]!r} of {key} {first[key]!r}"
            )
    return notes
