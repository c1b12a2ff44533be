"""How the values of a data set's features became ids and numbers: stored with weights, which depend on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.preprocessing.scaling import Scale

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

__all__ = ["Encoding", "scale_of"]

_SOURCES = (
    FeatureSource.INTERACTION, FeatureSource.USER, FeatureSource.USER_ID, FeatureSource.ITEM,
    FeatureSource.ITEM_ID,
)  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """The features of a data set, in the order in which models embed them.

    Attributes:
        fields: RecBole's type of each feature, such as ``token``.
        tokens: Of features with ids, the value of each id, strings; id 0 is padding.
        numbers: Of number features, their ``Scale`` as plain values, and ``rows``, the size of their table.
        trained: Of features with one id, which ids have been trained on, ``(ids,)`` bool; empty if nobody asks.
    """

    fields: dict[str, str]
    tokens: dict[str, np.ndarray]
    numbers: dict[str, dict[str, Any]]
    trained: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> Encoding:
        """The encoding of a ``TextDataset``, or of one of its parts."""
        kinds, numerical = dataset.field2type, dataset.config["numerical_features"] or ()
        fields = {
            name: kinds[name].value
            for name in dataset.fields(source=_SOURCES)
            if name != dataset.label_field
            and (kinds[name] in (FeatureType.TOKEN, FeatureType.TOKEN_SEQ) or name in numerical)
        }
        ids = [name for name, kind in fields.items() if kind.startswith("token")]
        return cls(
            fields=fields,
            tokens={name: np.asarray(dataset.field2id_token[name], dtype=object) for name in ids},
            numbers={
                name: {**asdict(dataset.scales[name]), "rows": int(dataset.num(name))}
                for name in fields
                if name not in ids
            },
        )

    def pack(self) -> tuple[str, dict[str, Tensor]]:
        """A header as JSON; and tensors: by feature with ids, ``<name>:bytes``, ``:ends`` and ``:trained``."""
        tensors = {f"{name}:trained": trained for name, trained in self.trained.items()}
        for name, tokens in self.tokens.items():
            encoded = [str(token).encode("utf-8", "surrogatepass") for token in tokens]
            tensors[f"{name}:bytes"] = torch.frombuffer(bytearray(b"".join(encoded)), dtype=torch.uint8)
            tensors[f"{name}:ends"] = torch.tensor(np.cumsum([len(token) for token in encoded]))
        return json.dumps({"fields": self.fields, "numbers": self.numbers}), tensors

    @classmethod
    def unpack(cls, header: str, tensors: Mapping[str, Tensor]) -> Encoding:
        """The encoding of a result of ``pack``.

        Raises:
            WeightsError: It is inconsistent.
        """
        try:
            content = json.loads(header)
            fields, numbers = dict(content["fields"]), dict(content["numbers"])
            tokens, trained = {}, {}
            for name in (name for name, kind in fields.items() if kind.startswith("token")):
                whole, ends = tensors[f"{name}:bytes"].numpy().tobytes(), tensors[f"{name}:ends"].tolist()
                starts = [0, *ends[:-1]]
                if ends[-1] != len(whole) or any(a > b for a, b in zip(starts, ends, strict=True)):
                    raise ValueError(f"the values of {name} do not fit their lengths")
                values = [whole[a:b].decode("utf-8", "surrogatepass") for a, b in zip(starts, ends, strict=True)]
                if len(set(values)) < len(values):
                    raise ValueError(f"{name} has a value twice")
                tokens[name] = np.array(values, dtype=object)
                if f"{name}:trained" in tensors:
                    trained[name] = tensors[f"{name}:trained"]
                    if trained[name].shape != (len(values),) or trained[name].dtype is not torch.bool:
                        raise ValueError(f"which values of {name} were trained on does not fit their number")
            for entry in numbers.values():
                scale_of(entry)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
            raise WeightsError(f"the vocabulary of the weights is damaged: {error}") from error
        return cls(fields, tokens, numbers, trained)

    def digest(self) -> str:
        """SHA-256 of all but ``trained``, in hexadecimal."""
        header, tensors = replace(self, trained={}).pack()
        digest = hashlib.sha256(header.encode())
        for name in sorted(tensors):
            digest.update(f"{name} {len(tensors[name])}".encode())
            digest.update(tensors[name].numpy().tobytes())
        return digest.hexdigest()


def scale_of(entry: Mapping[str, Any]) -> Scale:
    """The scale of an entry of ``Encoding.numbers``.

    Raises:
        ValueError: It is not such an entry; KeyError and TypeError likewise.
    """
    rows, levels, edges = entry["rows"], entry["levels"], entry["edges"]
    values = {**entry, "levels": levels and tuple(map(float, levels)), "edges": edges and tuple(map(float, edges))}
    del values["rows"]
    scale = Scale(**values)
    float(scale.missing)
    if not isinstance(rows, int) or rows < 1 or (edges is not None and len(edges) != 2):
        raise ValueError("the scale of a number feature is incomplete")
    return scale
