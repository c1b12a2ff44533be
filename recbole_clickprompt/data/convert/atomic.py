"""Writes RecBole's atomic files: tab-separated, a typed header, quoted so that its csv reader gives every value
back exactly.

RecBole reads them by pandas' Python engine with minimal quoting. So a value with a tab, a line break or a quote is
put in quotes, an inner quote is doubled, and what that reader cannot give back is refused before anything is
written.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from recbole_clickprompt.errors import DataError

__all__ = ["LONGEST_TEXT", "AtomicWriter", "new_folder", "write_atomic"]

# Python's csv reader stops at 131,072 characters, and RecBole stores the tokens of a field in a table as wide as
# the longest, times 4 bytes, times their number. No PLM reads more than some hundred words of a value.
LONGEST_TEXT = 2000


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of ``target`` at the end; on any error nothing is left of it.

    Raises:
        DataError: ``target`` is there already, or cannot be made.
    """
    if target.exists():
        raise DataError(f"{target} is there already; remove it, or choose another place with --out")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise DataError(f"cannot write to {target.parent}: {error.strerror}") from error
    try:
        yield work
        work.chmod(0o755)  # what mkdir gives, where mkdtemp shuts others out
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class AtomicWriter:
    """One atomic file, written in batches of rows.

    Args:
        path: The file to make.
        types: Field: its type, ``token``, ``token_seq``, ``float`` or ``float_seq``, in the order of the columns.
        ids: Fields whose values may not be cut.
    """

    def __init__(
        self, path: Path, types: Mapping[str, str], ids: tuple[str, ...] = ("user_id", "item_id")
    ) -> None:
        self.path, self.types, self._ids = path, types, ids
        self.rows = 0
        self.cut = 0
        header = "\t".join(f"{field}:{kind}" for field, kind in types.items())
        self._stream = path.open("wb")
        self._stream.write(f"{header}\n".encode())

    def write(self, frame: pl.DataFrame) -> None:
        """Appends rows; columns beyond ``types`` are left out, None becomes an empty cell.

        Raises:
            DataError: A value that no reader would give back: a NUL character, or an id that is too long.
        """
        frame = frame.select(list(self.types))
        texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
        for name in texts:
            self._check(name, frame[name])
        self.cut += sum(int((frame[name].str.len_chars() > LONGEST_TEXT).sum()) for name in texts)
        frame = frame.with_columns(pl.col(texts).str.slice(0, LONGEST_TEXT)) if texts else frame
        # An empty text and a missing one are the same empty cell to every reader
        frame = frame.with_columns(pl.col(texts).replace("", None)) if texts else frame
        frame.write_csv(self._stream, separator="\t", include_header=False, quote_style="necessary")
        self.rows += len(frame)

    def _check(self, name: str, values: pl.Series) -> None:
        with_nul = values.str.contains("\0", literal=True).arg_true()
        if len(with_nul):
            row = int(with_nul[0])
            raise DataError(f"{self.path.name}, row {self.rows + row + 1}, column {name}: holds a NUL character")
        if name in self._ids:
            too_long = (values.str.len_chars() > LONGEST_TEXT).arg_true()
            if len(too_long):
                row = int(too_long[0])
                raise DataError(
                    f"{self.path.name}, row {self.rows + row + 1}, column {name}: an id of "
                    f"{len(values[row])} characters; at most {LONGEST_TEXT} are possible"
                )

    def close(self) -> None:
        """Ends the file."""
        self._stream.close()

    def __enter__(self) -> AtomicWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_atomic(path: Path, frame: pl.DataFrame, types: Mapping[str, str]) -> int:
    """Writes one atomic file at once; returns how many values were cut to ``LONGEST_TEXT`` characters."""
    with AtomicWriter(path, types) as writer:
        writer.write(frame)
    return writer.cut
