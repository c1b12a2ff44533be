"""A user's table of clicks or ratings that was read, and its atomic files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_clickprompt.data.convert.atomic import AtomicWriter
from recbole_clickprompt.data.convert.negatives import NegativeSampler
from recbole_clickprompt.data.convert.side_table import EntityFields, EntityJoin
from recbole_clickprompt.data.convert.table_scan import RowFields
from recbole_clickprompt.errors import DataError

__all__ = ["UserTable"]

_SOURCES = ("inter", "user", "item")


@dataclass(frozen=True)
class UserTable:
    """A table that was read, and the guesses about its columns.

    Attributes:
        words: Field: its name in words, in the order of the text.
        sources: Field: ``inter``, ``user`` or ``item``.
        types: Field: ``token``, ``token_seq`` or ``float``.
        log: Number fields whose logarithm is scaled.
        text_only: Fields that only language models read.
        separator: Separates the values of ``token_seq`` fields.
        list_separators: Field: what separates its values in the table, for lists that the user named.
        column_names: Column: its field, where its name is another or it is an id; None for dropped columns.
        threshold: The label is 1 from this value of ``rating`` on; None where ``label`` is 0 or 1 itself.
        rows_read: Rows of the table.
        rows: Rows but the dropped ones.
        first_row: Field: its value in the first row.
        negatives: Samples negatives of the clicks; None if the table has labels.
        facts: What was read of labels and times, one line each.
        notes: What is odd about the table, one line each.
    """

    words: dict[str, str]
    sources: dict[str, str]
    types: dict[str, str]
    log: list[str]
    text_only: list[str]
    separator: str
    list_separators: dict[str, str]
    column_names: dict[str, str | None]
    threshold: float | None
    rows_read: int
    rows: int
    first_row: dict[str, object]
    negatives: NegativeSampler | None
    facts: list[str]
    notes: list[str]
    _fields: RowFields
    _first_rows: dict[str, np.ndarray]  # of each user and each item
    _entities: Mapping[str, EntityFields]  # by source

    @property
    def numbers(self) -> list[str]:
        """Number fields that are features."""
        return [field for field, kind in self.types.items() if kind == "float" and field in self.words]

    @property
    def linear(self) -> list[str]:
        """Those that are scaled without a logarithm."""
        return [field for field in self.numbers if field not in self.log]

    def fields(self, source: str) -> list[str]:
        """Fields of a source, the ids first."""
        ids = {"inter": ["user_id", "item_id"], "user": ["user_id"], "item": ["item_id"]}[source]
        return ids + [field for field, found in self.sources.items() if found == source and field not in ids]

    @property
    def rows_written(self) -> int:
        """Rows but the dropped ones, and the sampled ones; complete once all are written."""
        return self.rows + (self.negatives.sampled if self.negatives else 0)

    def write(self, folder: Path, name: str, work: Path) -> list[str]:
        """Writes the atomic files; returns notes on what was changed or sampled.

        Args:
            folder: For the files.
            name: Of the data set.
            work: An empty folder for temporary files.

        Raises:
            DataError: No negative can be sampled, or a value cannot be written.
        """
        with ExitStack() as stack:
            writers = {
                source: stack.enter_context(
                    AtomicWriter(folder / f"{name}.{source}", {f: self.types[f] for f in self.fields(source)})
                )
                for source in _SOURCES
                if source == "inter" or len(self.fields(source)) > 1
            }
            joins = {
                source: EntityJoin(work, entity.id_field, len(self._first_rows[source]) + entity.rows)
                for source, entity in self._entities.items()
            }
            start = 0
            for frame in self._fields.frames():
                for part in self.negatives.with_negatives(frame) if self.negatives else [frame]:
                    writers["inter"].write(part)
                for source in writers.keys() - {"inter"}:
                    low, high = np.searchsorted(self._first_rows[source], [start, start + len(frame)])
                    found = frame[self._first_rows[source][low:high] - start]
                    if source in joins:
                        joins[source].add(found.select([f for f in self.fields(source) if f in found.columns]))
                    else:
                        writers[source].write(found)
                start += len(frame)
            for source, join in joins.items():
                for joined in join.joined(self._entities[source].frames(), self.fields(source)):
                    writers[source].write(joined)
        return [*self._notes_on_negatives(), *(note for writer in writers.values() for note in writer.notes())]

    def _notes_on_negatives(self) -> list[str]:
        sampler, when = self.negatives, " up to the time of the click" if "timestamp" in self.sources else ""
        if not sampler:
            return []
        if not sampler.sampled:
            raise DataError(f"no negative can be sampled: every user clicked all items that anyone clicked{when}")
        notes = [
            f"label: 1 for {self.rows:,} clicks, 0 for {sampler.sampled:,} sampled negatives, items that anyone "
            f"clicked{when} and the user never clicked; metrics on them are no metrics on shown items"
        ]
        if sampler.short:
            notes.append(
                f"{sampler.short:,} clicks have fewer than {sampler.number} negatives, for lack of such items"
            )
        copied = [field for field in self.fields("inter")[2:] if field not in ("label", "timestamp")]
        if copied:
            notes.append(
                f"a negative has the {', '.join(copied)} of its click; drop columns that describe the clicked "
                "item, as they would give the label away"
            )
        return notes
