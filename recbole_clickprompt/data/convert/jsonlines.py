"""Reads files with one JSON object per line, block by block, into tables of selected fields."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pyarrow.json as pa_json

from recbole_clickprompt.data.convert.raw import RawFiles
from recbole_clickprompt.errors import DataError

__all__ = ["read_json_lines"]


def read_json_lines(raw: RawFiles, schema: pa.Schema, *names: str) -> Iterator[tuple[pl.DataFrame, int]]:
    """Tables of the first of ``names`` that exists, each with the line at which it begins.

    Args:
        raw: Where the file is.
        schema: The fields to read and their types; other fields are skipped, missing ones are None.
        names: Names of the file.

    Raises:
        DataError: A line is not a JSON object, or a field has another type; with file and line.
    """
    file = raw.require(*names)
    line = 1
    options = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    for block in raw.blocks(*names):
        if b"\0" in block:
            at = block.index(b"\0")
            raise DataError(f"{file}, line {line + block.count(10, 0, at)}: a NUL character; the file is damaged")
        try:
            if not block.isascii():
                block.decode()  # pyarrow takes any bytes for text
            table = pa_json.read_json(
                io.BytesIO(block), pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1), options
            )
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise _fault(block, file, line, schema) or DataError(
                f"{file}, from line {line} on: {error}"
            ) from error
        yield pl.DataFrame(pl.from_arrow(table)), line
        line += block.count(b"\n")


def _fault(block: bytes, file: str, line: int, schema: pa.Schema) -> DataError | None:
    for i, text in enumerate(block.split(b"\n"), line):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except UnicodeDecodeError as error:
            return DataError(
                f"{file}, line {i}, column {error.start + 1}: byte 0x{text[error.start]:02x} is no utf-8"
            )
        except json.JSONDecodeError as error:
            return DataError(f"{file}, line {i}, column {error.colno}: no JSON ({error.msg})")
        if not isinstance(row, dict):
            return DataError(f"{file}, line {i}: an object is expected, got {type(row).__name__}")
        for field in schema:
            try:
                pa.array([row.get(field.name)], type=field.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                return DataError(
                    f"{file}, line {i}, field {field.name}: {str(row[field.name])[:60]!r} is no {field.type}"
                )
    return None
