"""Scores the rows of a csv file with an exported model: python score.py rows.csv

It needs numpy and onnxruntime; for texts that training never saw also tokenizers. `recbole-cp export` copies it
next to the model, and you may edit it there. Values are read as `recbole-cp predict` reads them, but what was
unusual in them is not counted.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

BATCH = 256  # rows scored at once
# Words for a missing number, in lower case, and what a number looks like
MISSING = {
    "", "-", "--", "?", ".", "\\n", "#n/a", "#n/a n/a", "#na", "<na>", "n/a", "na", "nan", "-nan", "nat", "none",
    "null", "nil", "-1.#ind", "-1.#qnan", "1.#ind", "1.#qnan",
}  # fmt: skip
INFINITE = {sign + word for sign in ("", "+", "-") for word in ("inf", "infinity")}
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.ASCII)
LARGEST = float(np.finfo(np.float32).max)


def number(text: str, field: str) -> float:
    """A number; NaN if it is missing or infinite."""
    word = text.strip().lower()
    if word in MISSING | INFINITE:
        return np.nan
    if not NUMBER.fullmatch(word):
        raise ValueError(f"{field} accepts numbers, got {text!r}")
    return float(word) if np.isfinite(float(word)) else np.nan


def number_text(value: float) -> str:
    """A number as people write it: 1996 instead of 1996.0."""
    return str(int(value)) if value.is_integer() else repr(value)


def raw_value(text: str, field: dict[str, Any], separator: str) -> Any:
    """The value of a cell, or a list of values; an empty cell is None or NaN."""
    kind, name = field["type"], field["name"]
    if kind == "float":
        return number(text, name)
    if kind == "token":
        return (" ".join(text.split()) if field["unsplit"] else text) or None
    own = field["list_separator"]
    parts = text.split(separator) if own is None else text.replace(own, separator).split(separator)
    parts = [part if own is None else part.strip() for part in parts]
    return [number(part, name) if kind == "float_seq" else part for part in parts if part]


def value_text(value: Any, field: dict[str, Any], words: dict[str, str], joiner: str) -> str | None:
    """A value in words; None if it is missing."""
    if field["type"] == "token_seq" and field["source"] != "inter":
        return joiner.join(words.get(v, v) for v in value) or None
    if isinstance(value, list):
        value = joiner.join(v if isinstance(v, str) else number_text(v) for v in value if v == v) or None
    elif isinstance(value, float):
        value = number_text(value) if value == value else None
    return None if value is None else words.get(value, value)


def scaled(values: np.ndarray, field: dict[str, Any]) -> np.ndarray:
    """Numbers as training scaled them, limited to ten times the width of its range beyond it."""
    scale = field["scale"]
    with np.errstate(over="ignore"):
        values = np.sign(values) * np.log1p(np.abs(values)) if scale["log"] else values
        values = np.where(np.isnan(values), scale["missing"], values)
        low, high = scale["low"], scale["high"]
        if low is not None and high is not None:
            values = (values - low) / (high - low) if high > low else np.ones_like(values)
        row = np.ones_like(values)  # of the embedding table
        if field["feature"] and scale["edges"] is not None and scale["bins"] is not None:
            (low, high), bins = scale["edges"], scale["bins"]
            row = np.floor((values - low) * bins / (high - low) + 1) if high > low else np.full_like(values, bins)
            values, row = np.ones_like(values), np.clip(row, 1, bins)
        elif field["feature"] and scale["levels"] is not None:
            large, levels = values > 2, np.asarray(scale["levels"])
            values = np.where(large, np.floor(np.log(values * large + 1e-9) ** 2 + 1), values)
            row = np.searchsorted(levels, values).clip(max=len(levels) - 1).astype(float)
            values = np.ones_like(values)
    limits = field["range"] or (None if scale["low"] is None else (0.0, 1.0))
    if limits is None:
        limits = (-LARGEST, LARGEST)
    else:
        margin = 10 * ((limits[1] - limits[0]) or 1)
        limits = (max(limits[0] - margin, -LARGEST), min(limits[1] + margin, LARGEST))
    values = values.clip(*limits)
    return np.stack([values, row], axis=-1).astype(np.float32) if field["feature"] else values.astype(np.float32)


def bf16(states: np.ndarray) -> np.ndarray:
    """float32 numbers rounded to bfloat16, as the states of known texts are."""
    bits = np.ascontiguousarray(states, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)


class Model:
    """An exported model.

    Args:
        folder: Where ``recbole-cp export`` wrote it.
    """

    def __init__(self, folder: Path) -> None:
        for name, checksum in json.loads((folder / "checksums.json").read_text("utf-8")).items():
            digest = hashlib.sha256()
            with (folder / name).open("rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
            if digest.hexdigest() != checksum:
                raise ValueError(f"{name} was changed after the export; export the model again")
        self.folder, self.schema = folder, json.loads((folder / "schema.json").read_text("utf-8"))
        self.fields = {field["name"]: field for field in self.schema["fields"]}
        self.tables = dict(np.load(folder / "features.npz"))  # features of users and items, by id
        vocabulary = json.loads((folder / "vocabulary.json").read_text("utf-8"))
        self.ids = {name: {token: i for i, token in enumerate(tokens) if i} for name, tokens in vocabulary.items()}
        self.joiner = " " if self.schema["seq_separator"] == " " else ", "
        self.text: Any = self.schema["text"]
        self.states: Any = None
        if self.text is not None:
            self.tokens = dict(np.load(folder / "tokens.npz"))
            self.special = len(self.text["prefix"]) + len(self.text["suffix"])
            if (folder / "states.npy").is_file():  # of the frozen layers, for known texts
                self.states = np.load(folder / "states.npy", mmap_mode="r")
                self.state_offsets = self._state_offsets()

    def score(self, rows: list[dict[str, str]]) -> np.ndarray:
        """A probability for each row, a dict of its cells, ``(rows,)``."""
        session = self._session("model.onnx")
        inputs = [entry.name for entry in session.get_inputs()]
        scores = [np.zeros(0, dtype=np.float32)]
        for start in range(0, len(rows), BATCH):
            columns = self.columns(rows[start : start + BATCH])
            scores.append(session.run(None, {name: columns[name] for name in inputs})[0])
            if not np.isfinite(scores[-1]).all():
                raise ValueError("a score is not a finite number")
        return np.concatenate(scores)

    def names(self, header: list[str]) -> list[str | None]:
        """The field of each column, None if it is not read."""
        schema, own = self.schema, self.schema["column_names"]
        if not {column for column, field in own.items() if field in (schema["user"], schema["item"])} <= set(
            header
        ):
            own = {}  # rather the columns of the table that the data set was made of
        names = [own.get(name, name) for name in header]
        clicks = [
            schema["history"][key] for key in ("items", "labels") if schema["history"] and schema["history"][key]
        ]
        read = {name for name, field in self.fields.items() if field["source"] != "net"}
        described = schema["descriptions"] or {"names": {}}
        texts = [f"{level}_text" for level in described["names"]]  # an export encodes none
        if unknown := {name for name in names if name} - read - {*schema["ignored"], *clicks, *texts}:
            raise ValueError(
                f"{', '.join(sorted(unknown))} are not fields of the model: {', '.join(sorted(read))}"
            )
        needed = {name for name in read if self._is_read_from_row(self.fields[name])}
        if missing := (needed | (set(clicks) if set(clicks) & set(names) else set())) - set(names):
            raise ValueError(f"the columns {', '.join(sorted(missing))} are missing")
        if len(set(names) - {None}) < len([name for name in names if name]):
            raise ValueError("a column occurs twice")
        return names

    def _is_read_from_row(self, field: dict[str, Any]) -> bool:
        described = self.text["names"] if self.text else {}
        return field["source"] in ("user_id", "item_id") or (
            field["source"] == "inter" and (field["feature"] or field["name"] in described)
        )

    def columns(self, rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
        """The inputs of the model for some rows."""
        schema, separator = self.schema, self.schema["seq_separator"]
        raw = {
            name: [raw_value(row[name], field, separator) for row in rows]
            for name, field in self.fields.items()
            if name in rows[0]
        }
        for name in (schema["user"], schema["item"]):  # blanks around an unknown id are ignored
            raw[name] = [v if v is None or v in self.ids[name] else v.strip() or None for v in raw[name]]
        for name, field in self.fields.items():
            if field["source"] == "net":  # the text of a column that is not a token field
                context = self.fields[name.removesuffix("_text")]
                raw[name] = [value_text(v, context, {}, self.joiner) for v in raw[context["name"]]]
        given = {name: self._encoded(self.fields[name], values) for name, values in raw.items()}
        columns = {name: v for name, v in given.items() if self.fields[name]["source"] not in ("user", "item")}
        for name, field in self.fields.items():
            if field["source"] in ("user", "item"):  # training's features of known users and items, else the row's
                ids = columns[schema[field["source"]]]
                columns[name] = self.tables[name][ids]
                if name in given:
                    columns[name][ids == 0] = given[name][ids == 0]
        if schema["history"] is not None:
            columns |= self._history(rows)
        return columns if self.text is None else columns | self._text(columns, raw, len(rows))

    def _encoded(self, field: dict[str, Any], values: list[Any]) -> np.ndarray:
        """Ids, or scaled numbers, of the values of a column."""
        if not field["type"].endswith("_seq"):
            values = [[value] for value in values]
        flat = [value for row in values for value in row[: field["width"]]]
        if field["scale"] is None:
            encoded = np.array([self.ids[field["name"]].get(value, 0) for value in flat], dtype=np.int64)
        else:
            encoded = scaled(np.array(flat, dtype=np.float64), field)
        if not field["type"].endswith("_seq"):
            return encoded
        padded = np.zeros((len(values), field["width"], *encoded.shape[1:]), dtype=encoded.dtype)
        padded[np.arange(field["width"]) < np.array([[len(row)] for row in values])] = encoded
        return padded

    def _history(self, rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
        """The latest known clicks, oldest first; none if the rows have no column of clicks."""
        names = self.schema["history"]
        clicks = [name for name in (names["items"], names["labels"]) if name]
        columns = {name: np.zeros((len(rows), names["length"]), dtype=np.int64) for name in clicks}
        columns[names["lengths"]] = np.zeros(len(rows), dtype=np.int64)
        for number_of_row, row in enumerate(rows):
            items = [token for token in row.get(names["items"], "").split("|") if token]
            cells = {names["items"]: [self.ids[self.schema["item"]].get(token, 0) for token in items]}
            known = [place for place, item in enumerate(cells[names["items"]]) if item][-names["length"] :]
            if names["labels"]:
                labels = [number(t, names["labels"]) for t in row.get(names["labels"], "").split("|") if t]
                if len(labels) != len(items) or not set(labels) <= {0.0, 1.0}:
                    raise ValueError(f"{names['labels']} must have one label, 0 or 1, for each click")
                cells[names["labels"]] = [int(label) for label in labels]
            for name, values in cells.items():
                columns[name][number_of_row, : len(known)] = [values[place] for place in known]
            columns[names["lengths"]][number_of_row] = len(known)
        return columns

    def _text(
        self, columns: dict[str, np.ndarray], raw: dict[str, list[Any]], count: int
    ) -> dict[str, np.ndarray]:
        """Tokens of the rows' texts, or their states, and their number."""
        texts: list[list[Any]] = [[] for _ in range(count)]
        for index, segment in enumerate(self.text["segments"]):
            offsets = self.tokens[f"offsets_{index}"]
            new: dict[tuple[str, ...], list[Any]] = {}
            for row, text in enumerate(texts):
                key = columns[segment["key"]][row]
                if key:
                    text.extend(self._known(index, key, offsets))
                else:
                    phrases = tuple(self._phrases(index, {name: values[row] for name, values in raw.items()}))
                    if phrases not in new:
                        new[phrases] = self._new(index, phrases)
                    text.extend(new[phrases])
        limit = self.text["max_length"]
        if self.states is None:
            prefix, suffix = self.text["prefix"], self.text["suffix"]
            texts = [[*prefix, *text[: limit - self.special], *suffix] for text in texts]
        texts = [text[:limit] for text in texts]
        lengths = np.array([len(text) for text in texts])
        if self.states is None:
            pad = self.text["pad_id"]
            padded = np.array([text + [pad] * (lengths.max() - len(text)) for text in texts])
            return {"input_ids": padded, "text_length": lengths}
        states = np.zeros((count, lengths.max(), self.states.shape[1]), dtype=np.float32)
        for row, text in enumerate(texts):
            states[row, : len(text)] = text
        return {"states": states, "text_length": lengths}

    def _phrases(self, index: int, raw: dict[str, Any]) -> list[str]:
        """The parts of an unseen text, each tokenized by itself."""
        phrases: list[str] = []
        for name in self.text["segments"][index]["fields"]:
            words = self.text["words"].get(name, {})
            value = value_text(raw[name], self.fields[name], words, self.joiner) if name in raw else None
            if value is not None:
                # Byte-level BPE distinguishes " a" from "a": at the start of a row there is no blank
                blank = "" if index == 0 and not phrases and self.text["blank_matters"] else " "
                phrases.append(f"{blank}{self.text['names'][name]} is {value}.")
        return phrases

    def _known(self, index: int, key: int, offsets: np.ndarray) -> list[Any]:
        """Tokens, or states, of a text that training saw."""
        if self.states is not None:
            start, end = self.state_offsets[index][key : key + 2]
            return list((self.states[start:end].view(np.uint16).astype(np.uint32) << 16).view(np.float32))
        return self.tokens[f"values_{index}"][offsets[key] : offsets[key + 1]].tolist()

    def _new(self, index: int, phrases: tuple[str, ...]) -> list[Any]:
        """Tokens, or states, of another text."""
        tokens = [
            token for phrase in phrases for token in self._tokenizer.encode(phrase, add_special_tokens=False).ids
        ]
        if self.states is None:
            return tokens
        prefix, suffix = self.text["prefix"], self.text["suffix"]
        whole = [*prefix, *tokens[: self.text["max_length"] - self.special], *suffix]
        if not whole:
            return []
        inputs = {"input_ids": np.array([whole]), "text_length": np.array([len(whole)])}
        (states,) = bf16(self._session("frozen_layers.onnx").run(None, inputs)[0])
        last = index == len(self.text["segments"]) - 1
        return list(states[len(prefix) if index else 0 : len(whole) if last else len(whole) - len(suffix)])

    def _state_offsets(self) -> list[np.ndarray]:
        """Where the states of each known text begin, for each segment; special tokens within a row have none."""
        offsets, begin, last = [], 0, len(self.text["segments"]) - 1
        for index in range(last + 1):
            lengths = np.diff(self.tokens[f"offsets_{index}"]).clip(max=self.text["max_length"] - self.special)
            kept = (0 if index else len(self.text["prefix"])) + (len(self.text["suffix"]) if index == last else 0)
            offsets.append(begin + np.concatenate([[0], np.cumsum(lengths + kept)]))
            begin = offsets[-1][-1]
        return offsets

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    @cache  # noqa: B019 - there is one model
    def _session(self, file: str) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(self.folder / file)


def read(path: Path, model: Model) -> list[dict[str, str]]:
    """The rows of a csv file with a header, by field."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        header, *rows = lines
    names = model.names(header)
    for row, values in enumerate(rows, 1):
        if values and len(values) != len(header):
            raise ValueError(f"row {row} has {len(values)} values where the header has {len(header)}")
    if lines.line_num != 1 + len(rows):
        raise ValueError(
            "a quoted value spans several lines, but each line must be one row: is a quote not closed?"
        )
    return [{n: v for n, v in zip(names, values) if n} for values in rows if values]  # noqa: B905


def main(arguments: list[str]) -> int:
    """Prints a probability for each row of a file; returns 2 for an error, which is one line, else 0."""
    try:
        if len(arguments) != 1:
            raise ValueError("usage: python score.py rows.csv")
        model = Model(Path(__file__).resolve().parent)
        try:
            for probability in model.score(read(Path(arguments[0]), model)):
                print(probability)
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{arguments[0]}: {error}") from error
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
