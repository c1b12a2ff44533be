"""Reads tab-separated files of whole numbers without a header, block by block; every fault has its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.errors import DataError

__all__ = ["LIST", "NUMBER", "read_number_lines"]

NUMBER = "number"  # a whole number below 2 ** 64
LIST = "list"  # whole numbers separated by |, or nothing

_BYTES = b"0123456789|\t\r\n"
_TYPES = {NUMBER: pa.uint64(), LIST: pa.string()}
_FORMS = {NUMBER: re.compile(rb"[0-9]+"), LIST: re.compile(rb"([0-9]+(\|[0-9]+)*)?")}
_EXPECTED = {NUMBER: "a whole number", LIST: "a list of whole numbers separated by |"}
_BAD_LIST = r"^\||\|\||\|$"


def read_number_lines(
    raw: RawFiles, file: str, columns: Mapping[str, str], *, size: int = 1 << 24
) -> Iterator[tuple[pl.DataFrame, int]]:
    """Tables of the lines of ``file``, each with the line at which it begins. Every line is a row.

    Args:
        raw: Where the file is.
        file: Its name.
        columns: Name of each column and what it holds, ``NUMBER`` (UInt64 in the tables) or ``LIST`` (String as in
            the file, None if empty).
        size: Bytes that are read at once.

    Raises:
        DataError: The file is missing, damaged or empty, or a line has more or fewer columns or another content;
            with file and line.
    """
    file, line = raw.require(file), 1
    for block in raw.blocks(file, size=size):
        try:
            frame = _parse(block, columns)
        except (pa.ArrowInvalid, _Fault) as error:
            raise _located(block, file, line, columns) or DataError(
                f"{file}, from line {line} on: {' '.join(str(error).split())}"
            ) from error
        yield frame, line
        line += block.count(b"\n")


class _Fault(Exception):
    """The block has a fault that pyarrow does not report."""


def _parse(block: bytes, columns: Mapping[str, str]) -> pl.DataFrame:
    if block.translate(None, _BYTES):
        raise _Fault("a character that no number has")
    table = pa_csv.read_csv(
        pa.BufferReader(block),
        pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(columns)),
        pa_csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
        pa_csv.ConvertOptions(
            column_types={name: _TYPES[kind] for name, kind in columns.items()},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    # pyarrow also ends a line at a carriage return
    if len(table) != block.count(b"\n") + (not block.endswith(b"\n")):
        raise _Fault("a carriage return inside a line")
    frame = pl.DataFrame(pl.from_arrow(table))
    for name, kind in columns.items():
        values = frame[name]
        if values.null_count() if kind == NUMBER else values.str.contains(_BAD_LIST).any():
            raise _Fault(f"a missing number in column {name}")
    return frame


def _located(block: bytes, file: str, line: int, columns: Mapping[str, str]) -> DataError | None:
    """The error for the first line with a fault, found slowly."""
    lines = block.split(b"\n")
    for number, text in enumerate(lines if lines[-1] else lines[:-1], line):
        values = text.removesuffix(b"\r").split(b"\t")
        if len(values) != len(columns):
            return DataError(
                f"{file}, line {number}: {len(values)} columns where {len(columns)} are expected, separated by "
                f"tabs: {', '.join(columns)}"
            )
        for value, (name, kind) in zip(values, columns.items(), strict=True):
            if not _FORMS[kind].fullmatch(value) or (kind == NUMBER and int(value[:40]) >= 1 << 64):
                shown = value[:60].decode(errors="replace")
                return DataError(f"{file}, line {number}, column {name}: {shown!r} is not {_EXPECTED[kind]}")
    return None
