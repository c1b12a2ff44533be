"""Writes RecBole's atomic files: tab-separated, with a typed header and without quoting.

A quote is an ordinary character in them, so a value must not contain a tab or a line break. In texts they become
one blank, and a note says how many; an id that holds one is refused.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recbole_clickprompt.errors import DataError

__all__ = ["LONGEST_TEXT", "AtomicWriter", "write_atomic"]

# RecBole stores all tokens of a field in an array as wide as the longest one, with 4 bytes per character. No PLM
# reads more than a few hundred words of a value.
LONGEST_TEXT = 2000
_WRITTEN_ROWS = 1 << 16
_BREAKS = r"[\t\n\r]+"


class AtomicWriter:
    """Writes one atomic file in batches of rows.

    Args:
        path: The file to write.
        types: Field: its type, ``token``, ``token_seq``, ``float`` or ``float_seq``, in the order of the columns.
        ids: Fields whose values may not be cut.
    """

    def __init__(
        self, path: Path, types: Mapping[str, str], ids: tuple[str, ...] = ("user_id", "item_id")
    ) -> None:
        self.path, self.types, self._ids = path, types, ids
        self.rows = 0
        self._cut, self._joined = Counter[str](), Counter[str]()
        header = "\t".join(f"{field}:{kind}" for field, kind in types.items())
        self._stream = path.open("wb")
        self._stream.write(f"{header}\n".encode())

    def write(self, frame: pl.DataFrame) -> None:
        """Appends rows; columns not in ``types`` are ignored, and None becomes an empty cell.

        Raises:
            DataError: A value cannot be read back: it holds a NUL character, or is an id that is too long or holds
                a tab or a line break.
        """
        frame = frame.select(list(self.types))
        texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
        for name in texts:
            values = frame[name]
            self._refuse(values, values.str.contains("\0", literal=True), "holds a NUL character")
            broken, long = values.str.contains(_BREAKS), values.str.len_chars() > LONGEST_TEXT
            if name in self._ids:
                self._refuse(values, broken, "is an id that holds a tab or a line break")
                self._refuse(values, long, f"is an id of more than {LONGEST_TEXT} characters")
            self._joined[name] += int(broken.sum())
            self._cut[name] += int(long.sum())
            frame = frame.with_columns(pl.col(name).str.replace_all(_BREAKS, " ").str.slice(0, LONGEST_TEXT))
        # Every reader takes an empty text for a missing one
        frame = frame.with_columns(pl.col(texts).replace("", None)) if texts else frame
        for part in frame.iter_slices(_WRITTEN_ROWS):
            content = io.BytesIO()  # from polars an error of the disk would come without its number
            part.write_csv(content, separator="\t", include_header=False, quote_style="never")
            self._stream.write(content.getbuffer())
        self.rows += len(frame)

    def _refuse(self, values: pl.Series, bad: pl.Series, why: str) -> None:
        rows = bad.arg_true()
        if len(rows):
            row = int(rows[0])
            shown = repr(values[row] if len(values[row]) < 60 else f"{values[row][:60]}...")
            raise DataError(f"{self.path.name}, row {self.rows + row + 1}, column {values.name}: {shown} {why}")

    def notes(self) -> list[str]:
        """What was changed, one sentence each."""
        name = self.path.name
        return [
            *(
                f"{name}: {number} values of {field} had more than {LONGEST_TEXT} characters and were cut"
                for field, number in self._cut.items()
                if number
            ),
            *(
                f"{name}: {number} values of {field} held tabs or line breaks, which became blanks"
                for field, number in self._joined.items()
                if number
            ),
        ]

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def __enter__(self) -> AtomicWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_atomic(path: Path, frame: pl.DataFrame, types: Mapping[str, str]) -> list[str]:
    """Writes one atomic file at once; returns ``AtomicWriter.notes``."""
    with AtomicWriter(path, types) as writer:
        writer.write(frame)
    return writer.notes()
