"""Generates a script that scores raw rows with an exported model, numpy and onnxruntime only."""

from __future__ import annotations

from recbole_clickprompt.data.numbers import MISSING_NUMBERS
from recbole_clickprompt.preprocessing.preprocessing import Preprocessing
from recbole_clickprompt.preprocessing.schema import Field
from recbole_clickprompt.text.text import list_joiner

__all__ = ["example"]

_HEAD = '''"""Scores rows of a csv file with numpy and onnxruntime only: python score.py rows.csv"""

import csv, hashlib, json, sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
for name, checksum in json.loads((HERE / "checksums.json").read_text("utf-8")).items():
    if hashlib.sha256((HERE / name).read_bytes()).hexdigest() != checksum:
        sys.exit(f"{name} was changed after the export; export the model again")
session = onnxruntime.InferenceSession(HERE / "model.onnx")
tables = dict(np.load(HERE / "features.npz"))  # features of users and items, by id
vocabulary = json.loads((HERE / "vocabulary.json").read_text("utf-8"))
ids = {field: {token: id for id, token in enumerate(tokens)} for field, tokens in vocabulary.items()}
'''

_SCORE = '''

def score(rows):
    """A probability for each row, a dict of raw values; values that training never saw count as missing."""
    columns = {}
'''

_NUMBERS = """MISSING = MISSING_WORDS


def number(text, missing, log, low, width, smallest, largest):
    # Scaled as in training; infinity counts as missing, numbers far outside the training range are clipped
    value = np.nan if text.strip().lower() in MISSING else float(text)
    value = np.sign(value) * np.log1p(abs(value)) if log else value
    value = value if np.isfinite(value) else missing
    return min(max((value - low) / width, smallest), largest)
"""

_TOKENS = """tokens = dict(np.load(HERE / "tokens.npz"))  # of the text, by id


def text(columns, row):
    parts = []
    for number, key in enumerate(KEYS):
        start, end = tokens[f"offsets_{number}"][columns[key][row] :][:2]
        parts.extend(tokens[f"values_{number}"][start:end])
    return PREFIX + parts[: LONGEST - len(PREFIX) - len(SUFFIX)] + SUFFIX
"""

_TEXT = """    texts = [text(columns, row) for row in range(len(rows))]
    columns["text_length"] = np.array([len(t) for t in texts])
    columns["input_ids"] = np.array([t + [PAD] * (max(map(len, texts)) - len(t)) for t in texts])
"""

_FOOT = """    scores = session.run(None, {i.name: columns[i.name] for i in session.get_inputs()})[0]
    if not np.isfinite(scores).all():
        raise ValueError("a score is not a finite number")
    return scores


if __name__ == "__main__":
    with open(sys.argv[1], newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        header, *rows = lines
HEADER    for row, values in enumerate(rows, 1):
        if values and len(values) != len(header):
            sys.exit(f"row {row} has {len(values)} values where the header has {len(header)}")
    if lines.line_num != 1 + len(rows):
        sys.exit("a quoted value spans several lines, but each line must be one row: is a quote not closed?")
    for probability in score([dict(zip(header, values)) for values in rows if values]):
        print(probability)
"""


def example(preprocessing: Preprocessing) -> str | None:
    """The script; None if a row has a history or numbers in sequences or bins, too complex for an example.

    Unlike ``recbole-cp predict``, the script ignores features of users and items in the rows.
    """
    if preprocessing.history is not None:
        return None
    text, numbers = preprocessing.text, ""
    keys = {} if text is None else {segment.key: None for segment in text.segments}
    lines = []
    for field in preprocessing.fields.values():
        key = preprocessing.key(field)
        if key is None and (field.feature or field.name in keys):
            value = _value(preprocessing, field)
            if value is None:
                return None
            lines.append(f"    columns[{field.name!r}] = {value}\n")
            if field.type == "float":
                numbers = _NUMBERS.replace("MISSING_WORDS", repr(sorted(MISSING_NUMBERS)))
    for key, source in ((preprocessing.user, "user"), (preprocessing.item, "item")):
        names = [f.name for f in preprocessing.fields.values() if f.source == source and f.feature]
        if names:
            lines.append(f"    columns |= {{f: tables[f][columns[{key!r}]] for f in {names!r}}}\n")
    foot = _FOOT.replace("HEADER", _header(preprocessing))
    if text is None:
        return _HEAD + numbers + _SCORE + "".join(lines) + foot
    constants = (
        f"KEYS = {[segment.key for segment in text.segments]!r}\n"
        f"PREFIX, SUFFIX, PAD, LONGEST = {text.prefix!r}, {text.suffix!r}, {text.pad_id}, {text.max_length}\n"
    )
    return _HEAD + constants + numbers + _TOKENS + _SCORE + "".join(lines) + _TEXT + foot


def _header(preprocessing: Preprocessing) -> str:
    """Lines that rename the columns of the table that the data set was made of."""
    names = {column: field for column, field in preprocessing.column_names.items() if column != field}
    ids = [c for c, f in preprocessing.column_names.items() if f in (preprocessing.user, preprocessing.item)]
    if not names:
        return ""
    return (
        f"    if {set(ids)!r} <= set(header):  # the columns of the table that the data set was made of\n"
        f"        header = [{names!r}.get(name, name) for name in header]\n"
    )


def _value(preprocessing: Preprocessing, field: Field) -> str | None:
    """The expression that computes a column from ``rows``; None if it is too complex for an example."""
    column = field.name.removesuffix("_text") if field.source == "net" else field.name
    text, known = f"row[{column!r}]", f"ids[{field.name!r}]"
    if preprocessing.fields[column].type == "token_seq":
        elements = _elements(text, preprocessing.seq_separator, preprocessing.fields[column].list_separator)
        if field.source == "net":
            joiner = list_joiner(preprocessing.seq_separator)
            return f"np.array([{known}.get({joiner!r}.join({elements}), 0) for row in rows])"
        tokens = f"[{known}.get(t, 0) for t in {elements}]"
        return f"np.array([({tokens} + [0] * {field.width})[:{field.width}] for row in rows])"
    if field.type == "token":
        unknown = "0"
        if field.name in (preprocessing.user, preprocessing.item):  # blanks around an id are ignored
            unknown = f"{known}.get({text}.strip(), 0)"
        return f"np.array([{known}.get({text}, {unknown}) for row in rows])"
    scale = field.scale
    if field.type != "float" or scale is None or scale.edges is not None or scale.levels is not None:
        return None
    low, high = (0.0, 1.0) if scale.low is None or scale.high is None else (scale.low, scale.high)
    smallest, largest = field.bounds if high > low else (1.0, 1.0)  # constants are scaled to 1
    arguments = [scale.missing, scale.log, low, (high - low) or 1.0, smallest, largest]
    number = f"number({text}, {', '.join(map(repr, arguments))})"
    return f"np.array([[{number}, 1.0] for row in rows], dtype=np.float32)"


def _elements(text: str, separator: str, own_separator: str | None) -> str:
    """The expression of the values of a list, from that of its text."""
    if own_separator is None:
        return f"filter(None, {text}.split({separator!r}))"
    split = f"{text}.replace({own_separator!r}, {separator!r}).split({separator!r})"
    return f"filter(None, map(str.strip, {split}))"
