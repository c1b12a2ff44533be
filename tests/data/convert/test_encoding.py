"""Characters that no file should hold are told by their place."""

import pytest

from recbole_clickprompt.data.convert.encoding import decode, reject_mojibake
from recbole_clickprompt.errors import DataError


def test_another_encoding_a_nul_and_mojibake_are_refused_by_place():
    with pytest.raises(DataError, match=r"x.csv, line 2, column 4: byte 0xe9 is no utf-8"):
        decode("ab\ncafé".encode("latin-1"), "x.csv", "utf-8")
    with pytest.raises(DataError, match=r"x.csv, line 2, column 2: a NUL character"):
        decode(b"ab\nc\0", "x.csv", "utf-8")
    for text in ("ab\ncaf\u00c3\u00a9", "ab\ncaf\ufffd", "ab\nit\u00e2\u20ac\u2122s"):
        with pytest.raises(DataError, match=r"x.csv, line 2, column [34]: .* saved in another encoding"):
            reject_mojibake(text, "x.csv")
    reject_mojibake("Misérables, Les; Été; Ångström; São Ã", "x.csv")
    assert decode("\ufeffid".encode(), "x.csv", "utf-8") == "id"
