"""Everything needed to turn raw rows into the inputs of a trained model, as plain data without training files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.preprocessing.checks import check_preprocessing
from recbole_clickprompt.preprocessing.checksums import CHECKSUMS, verify_checksums, write_checksums
from recbole_clickprompt.preprocessing.scaling import Scale
from recbole_clickprompt.preprocessing.schema import Descriptions, Field, History, Segment, Text

__all__ = ["PREPROCESSING_FILES", "Preprocessing"]

_FORMAT = 1
_FILES = ("schema.json", "vocabulary.json", "features.npz")
_TEXT_FILES = ("tokens.npz", "tokenizer.json")
PREPROCESSING_FILES = (*_FILES, *_TEXT_FILES, CHECKSUMS)


@dataclass(frozen=True)
class Preprocessing:
    """How the data set of a training run maps raw rows to model inputs.

    Attributes:
        dataset: Name of the data set.
        user: Name of the field of user ids.
        item: Name of the field of item ids.
        seq_separator: Separator of the values of a sequence.
        fields: Fields by name, in RecBole's order.
        ignored: Columns of the atomic files that no model reads, such as the label and the time.
        vocabulary: Tokens of each token field by id; id 0 stands for padding and unknown values.
        tables: Features of users and items by id, as in batches: ``(ids,)`` or ``(ids, ...)``.
        text: None if the model does not read text.
        history: None if the model does not read click histories.
        column_names: Columns of the table that the data set was made of, each with its field, or None where it is
            not read.
        descriptions: How texts of users and items are written; None if the model does not encode them.
    """

    dataset: str
    user: str
    item: str
    seq_separator: str
    fields: dict[str, Field]
    ignored: list[str]
    vocabulary: dict[str, np.ndarray]
    tables: dict[str, np.ndarray]
    text: Text | None
    history: History | None = None
    column_names: dict[str, str | None] = field(default_factory=dict)
    descriptions: Descriptions | None = None

    def key(self, field: Field) -> str | None:
        """The id column on which a user's or an item's field depends; None for all other fields."""
        return {"user": self.user, "item": self.item}.get(field.source)

    def save(self, folder: Path) -> None:
        """Writes ``schema.json``, ``vocabulary.json``, ``features.npz`` and, for text, its tokens and tokenizer.

        Their checksums are written to ``checksums.json``.

        Args:
            folder: An existing, empty folder.
        """
        schema: dict[str, Any] = {
            "format": _FORMAT,
            "dataset": self.dataset,
            "user": self.user,
            "item": self.item,
            "seq_separator": self.seq_separator,
            "fields": [asdict(field) for field in self.fields.values()],
            "ignored": self.ignored,
            "column_names": self.column_names,
            "text": None if self.text is None else _text_schema(self.text),
            "history": None if self.history is None else asdict(self.history),
            "descriptions": None if self.descriptions is None else asdict(self.descriptions),
        }
        _write_json(folder / "schema.json", schema, indent=1)
        _write_json(folder / "vocabulary.json", {f: v.tolist() for f, v in self.vocabulary.items()}, indent=None)
        np.savez(folder / "features.npz", **self.tables)
        if self.text is not None:
            arrays: dict[str, np.ndarray] = {}
            for index, segment in enumerate(self.text.segments):
                arrays[f"values_{index}"], arrays[f"offsets_{index}"] = segment.values, segment.offsets
            np.savez(folder / "tokens.npz", **arrays)
            (folder / "tokenizer.json").write_text(self.text.tokenizer, encoding="utf-8")
        write_checksums(folder)

    @classmethod
    def load(cls, folder: Path, also: Iterable[str] = ()) -> Preprocessing:
        """Reads what ``save`` wrote, after verifying the checksums; warns if there are none.

        Args:
            folder: The folder of a preprocessing or an export.
            also: Names of other files in it that will be read.

        Raises:
            DataError: A file is missing, damaged, modified, or of another version.
        """
        for name in _FILES:
            if not (folder / name).is_file():
                raise DataError(f"{folder} is not the folder of a trained or exported model: it has no {name}")
        text_files = [name for name in _TEXT_FILES if (folder / name).is_file()]
        verify_checksums(folder, [*_FILES, *text_files, *also])
        try:
            schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
            if schema.pop("format") != _FORMAT:
                raise DataError(f"{folder / 'schema.json'} is of another version; export the model again")
            vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
            text, fields = schema.pop("text"), [_field(entry) for entry in schema.pop("fields")]
            # Absent in runs of earlier versions
            history, descriptions = (schema.pop(name, None) for name in ("history", "descriptions"))
            loaded = cls(
                fields={field.name: field for field in fields},
                vocabulary={field: np.array(tokens, dtype=object) for field, tokens in vocabulary.items()},
                tables=_arrays(folder / "features.npz"),
                text=None if text is None else _load_text(folder, text),
                history=None if history is None else History(**history),
                descriptions=None if descriptions is None else Descriptions(**descriptions),
                **schema,
            )
            check_preprocessing(loaded)
        except DataError:
            raise
        except Exception as error:  # zipfile, NumPy and json raise errors of many types
            raise DataError(f"{folder} contains a damaged file: {' '.join(str(error).split())}") from error
        return loaded


def _text_schema(text: Text) -> dict[str, Any]:
    fields = {k: v for k, v in vars(text).items() if k not in ("segments", "tokenizer")}
    return {**fields, "segments": [{"key": s.key, "fields": s.fields} for s in text.segments]}


def _load_text(folder: Path, schema: Mapping[str, Any]) -> Text:
    arrays = _arrays(folder / "tokens.npz")
    segments = [
        Segment(values=arrays[f"values_{index}"], offsets=arrays[f"offsets_{index}"], **segment)
        for index, segment in enumerate(schema["segments"])
    ]
    tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
    return Text(**{**schema, "segments": segments, "tokenizer": tokenizer})


def _field(entry: dict[str, Any]) -> Field:
    scale, limits = entry["scale"], entry.get("range")
    if limits is None and scale is not None and scale["low"] is not None:
        limits = (0.0, 1.0)  # normalized numbers in an older schema, which has no ranges
    return Field(
        **{
            **entry,
            "scale": None if scale is None else Scale(**scale),
            "range": None if limits is None else (float(limits[0]), float(limits[1])),
        }
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        packed = [part.filename for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise ValueError(f"{path.name} has a compressed part, {packed[0]}, which an export never writes")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _write_json(path: Path, content: object, indent: int | None) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=indent), encoding="utf-8")
