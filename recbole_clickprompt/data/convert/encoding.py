"""Decodes bytes; damaged or wrongly decoded characters are reported by file, line and column."""

from __future__ import annotations

import re

from recbole_clickprompt.errors import DataError

__all__ = ["MOJIBAKE", "decode", "reject_mojibake"]

# UTF-8 that was read as latin-1 or cp1252, as in "Ã©" for "é", or a replacement character
MOJIBAKE = re.compile("\ufffd|[\u00c2-\u00c5][\u0080-\u00bf\u0152-\u0192\u2018-\u203a\u20ac\u2122]|\u00e2\u20ac")


def decode(content: bytes, file: str, encoding: str, errors: str = "strict", first_line: int = 1) -> str:
    """The text of a file, or of a part of it that begins with ``first_line``.

    Args:
        content: The bytes.
        file: Name of the file, for messages.
        encoding: As for ``bytes.decode``.
        errors: As for ``bytes.decode``.
        first_line: Line of the first byte; a byte order mark is removed from line 1 only.

    Raises:
        DataError: A byte is invalid in ``encoding``, or there is a NUL character; by line and column.
    """
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + first_line
        column = error.start - before.rfind(b"\n")
        raise DataError(
            f"{file}, line {line}, column {column}: byte 0x{content[error.start]:02x} is no {encoding}; "
            "the file is damaged, or has been saved in another encoding"
        ) from error
    if "\0" in text:
        raise DataError(
            f"{_place(text, text.index(chr(0)), file, first_line)}: a NUL character; the file is damaged"
        )
    return text.removeprefix("\ufeff") if first_line == 1 else text


def reject_mojibake(text: str, file: str) -> None:
    """Raises DataError, by line and column, for text that was decoded wrongly before it was saved."""
    match = MOJIBAKE.search(text)
    if match:
        what = f"{match.group()!r}: the file has been saved in another encoding; fetch it again"
        raise DataError(f"{_place(text, match.start(), file)}: {what}")


def _place(text: str, at: int, file: str, first_line: int = 1) -> str:
    line = text.count("\n", 0, at) + first_line
    column = at - text.rfind("\n", 0, at)
    return f"{file}, line {line}, column {column}"
