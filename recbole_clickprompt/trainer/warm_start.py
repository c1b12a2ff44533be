"""Continues from a checkpoint whose data set had other rows and a smaller vocabulary.

Rows of tables are copied by the value that they stand for, not by its id, which is another one in other data::

    saved   item_id  0 [PAD]  1 i7  2 i3            new   0 [PAD]  1 i3  2 i9  3 i7
    rows                e0      e1    e2                     e0      e2   init    e1
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_clickprompt.backbones.unseen import unseen_values, zero_rows
from recbole_clickprompt.errors import SettingError, WeightsError
from recbole_clickprompt.preprocessing.encoding import Encoding
from recbole_clickprompt.settings.values import Settings
from recbole_clickprompt.trainer.checkpoint import check_numbers
from recbole_clickprompt.trainer.protocols import TakesWarmStart
from recbole_clickprompt.trainer.table_rows import IdMap, Rows, backbones_of, table_rows
from recbole_clickprompt.trainer.tied_weights import storage
from recbole_clickprompt.trainer.warm_start_file import FINETUNE, SavedRun, read_saved_run, structural_differences

if TYPE_CHECKING:
    from recbole.data.dataset import Dataset

    from recbole_clickprompt.trainer.protocols import Module, PretrainingStage

__all__ = ["WarmStart", "find_warm_start", "trained_ids"]

_MOST_NAMED = 3


@dataclass(frozen=True)
class WarmStart:
    """A saved run and the data set to continue on.

    Attributes:
        saved: The run.
        encoding: Of the present data set.
    """

    saved: SavedRun
    encoding: Encoding

    def __post_init__(self) -> None:
        """
        Raises:
            SettingError: The features of the data sets differ.
        """
        old, new = (_in_words(encoding.fields) for encoding in (self._encoding, self.encoding))
        if old == new:
            return
        raise SettingError(
            f"warm_start: {self.saved.path} was trained on other features (saved {old}; now {new}); load the same "
            "columns in the same order (load_col, unused_col, numerical_features)"
        )

    @property
    def is_finetuned(self) -> bool:
        """Whether the saved run is a finetuned model, and not the result of an earlier stage."""
        return self.saved.stage == FINETUNE

    def remaining(self, stages: list[PretrainingStage]) -> list[PretrainingStage]:
        """The stages that are left to run: none after finetuning, else that of the saved run and later ones."""
        names = [stage.name for stage in stages]
        return stages[names.index(self.saved.stage) :] if self.saved.stage in names else []

    @functools.cached_property
    def ids(self) -> IdMap:
        """Where the saved values are in the present vocabulary."""
        return IdMap(self._encoding, self.encoding)

    def known_ids(self) -> dict[str, Tensor]:
        """By field with one id, the present ids of values that the earlier run was trained on."""
        new_ids = self.ids.new_ids
        known = {name: new_ids[name][trained] for name, trained in self._encoding.trained.items()}
        return {name: ids[ids >= 0] for name, ids in known.items()}

    @property
    def _encoding(self) -> Encoding:
        return self.saved.encoding or self.encoding

    def digest(self) -> str:
        """A hash of the file and of the present vocabulary, on which the initial weights depend."""
        return f"{self.saved.checksum} {self.encoding.digest()}"

    def prepare(self, model: Module) -> None:
        """To be called before other initial weights are set: what a model can reuse of the saved one."""
        for module, tensors in self._takers(model):
            module.before_warm_start(tensors)

    @torch.no_grad()
    def copy_into(self, model: Module, config: Settings, *, zero: bool, but: Collection[str] = ()) -> None:
        """Copies all saved weights; rows of new ids keep the initial weights of the model, or are set to zero.

        Args:
            model: With initial weights, changed in place.
            config: Settings of the run, for error messages.
            zero: Whether embeddings of new ids become zero, as with ``unseen_id_embeddings: zero``; tables of
                fields with lists of ids keep their initial weights, as there.
            but: Fields whose new ids keep their initial weights, such as those initialized from text.

        Raises:
            SettingError: The weights do not fit, because of a setting that differs.
            WeightsError: They do not fit for another reason.
        """
        ids, layouts = self.ids, table_rows(model)
        copies = self._fitting(model, config, ids, layouts)
        for tensor, old, rows in copies:
            if rows is None:
                tensor.copy_(old)
                continue
            places, _ = ids.rows(rows)
            there = (places >= 0).nonzero().squeeze(1)
            known = old[there].to(tensor)
            at = places[there].to(tensor.device)
            # Values that were known stay known
            tensor[at] = tensor[at] | known if tensor.dtype is torch.bool else known
        if zero:
            self._zero_new(model, ids, but)
        for module, tensors in self._takers(model):
            module.after_warm_start(tensors)
        self._report(ids)

    def _takers(self, model: Module) -> Iterator[tuple[TakesWarmStart, dict[str, Tensor]]]:
        assert isinstance(model, nn.Module)
        for name, module in model.named_modules():
            if isinstance(module, TakesWarmStart):
                prefix = f"{name}." if name else ""
                yield (
                    module,
                    {k.removeprefix(prefix): v for k, v in self.saved.weights.items() if k.startswith(prefix)},
                )

    def _fitting(
        self, model: Module, config: Settings, ids: IdMap, layouts: Mapping[str, Rows | None]
    ) -> list[tuple[Tensor, Tensor, Rows | None]]:
        """Each tensor of the model with its saved one and its rows; checks all of them first."""
        if self.saved.encoding is None and any(layouts.values()):
            raise WeightsError(
                f"warm_start: {self.saved.path} was written by an earlier version, without the values of its ids; "
                "train it again"
            )
        self._check_undeclared(model, ids, layouts)
        state, weights = model.state_dict(), self.saved.weights
        copies: list[tuple[Tensor, Tensor, Rows | None]] = []
        faults: list[str] = []
        stored = {storage(tensor) for name, tensor in state.items() if name in weights}  # tied: once in files
        for name, tensor in state.items():
            if name in layouts and layouts[name] is None:
                continue
            rows = layouts.get(name)
            if name not in weights:
                faults += [] if storage(tensor) in stored else [f"{name} (not saved)"]
                continue
            old = weights[name]
            expected = tensor.shape if rows is None else (len(ids.rows(rows)[0]), *tensor.shape[1:])
            if tuple(old.shape) != tuple(expected):
                faults.append(f"{name} (saved {tuple(old.shape)}, expected {tuple(expected)})")
            copies.append((tensor, old, rows))
        faults += [f"{name} (only saved)" for name in weights.keys() - state.keys()]
        if faults:
            raise self._misfit(config, faults)
        check_numbers(state, {name: weights[name] for name in state.keys() & weights.keys()}, self.saved.path)
        return copies

    def _misfit(self, config: Settings, faults: list[str]) -> SettingError | WeightsError:
        different = structural_differences(self.saved.settings, config)
        path = self.saved.path
        if different:
            return SettingError(
                f"warm_start: {path} does not fit this run: {'; '.join(different)}; use the saved values, or "
                "train without warm_start"
            )
        shown = ", ".join(sorted(faults)[:_MOST_NAMED])
        return WeightsError(
            f"warm_start: {path} does not fit this run, though settings are equal: {shown}; train without "
            "warm_start"
        )

    def _check_undeclared(self, model: Module, ids: IdMap, layouts: Mapping[str, Rows | None]) -> None:
        """Refuses a table of a changed field that its model does not declare: its rows would be mixed up."""
        assert isinstance(model, nn.Module)
        changed = {size: field for field, size in ids.sizes.items() if not ids.is_identity(field)}
        pretrained = {id(weight) for weight in model.pretrained_parameters()}  # type: ignore[operator]
        for name, module in model.named_modules(remove_duplicate=False):
            if not isinstance(module, nn.Embedding) or id(module.weight) in pretrained:
                continue
            if f"{name}.weight" not in layouts and module.num_embeddings in changed:
                raise WeightsError(
                    f"warm_start: {name} has as many rows as {changed[module.num_embeddings]} has values, but its "
                    "model does not say whose ids they are; implement table_rows (trainer.protocols.HasTableRows)"
                )

    def _zero_new(self, model: Module, ids: IdMap, but: Collection[str]) -> None:
        for backbone in backbones_of(model):
            if not backbone.token_field_names:
                continue
            new = torch.zeros(sum(backbone.token_field_dims), dtype=torch.bool)
            offsets = backbone.token_field_offsets.tolist()
            for field, begin in zip(backbone.token_field_names, offsets, strict=True):
                if field not in but:
                    new[ids.added(field) + begin] = True
            zero_rows(backbone, new)

    def _report(self, ids: IdMap) -> None:
        logger = getLogger()
        logger.info(f"warm start: continues from {self.saved.path}, stage {self.saved.stage}")
        for field in ids.new_ids:
            added, gone = len(ids.added(field)), ids.gone(field)
            if added or gone:
                known = ids.sizes[field] - added - 1  # without padding
                logger.info(f"warm start: {field}: {known} known values, {added} new, {gone} gone")
        if lost := {field: ids.gone(field) for field in ids.new_ids if ids.gone(field)}:
            counts = ", ".join(f"{number} of {field}" for field, number in lost.items())
            logger.warning(
                f"warm start: values of {self.saved.path} that are no longer in the data are dropped: {counts}; "
                "keep their rows, users and items in the files to keep them"
            )


def find_warm_start(config: Settings, encoding: Encoding) -> WarmStart | None:
    """What the setting ``warm_start`` names; None without it.

    Args:
        config: Settings of the run.
        encoding: Of its data set.

    Raises:
        WeightsError: As for ``read_saved_run``.
        SettingError: The features of the data sets differ.
    """
    if config["warm_start"] is None:
        return None
    return WarmStart(read_saved_run(Path(config["warm_start"])), encoding)


def trained_ids(dataset: Dataset | None, encoding: Encoding, warm: WarmStart | None) -> dict[str, Tensor]:
    """``Encoding.trained`` of a stage's result.

    Args:
        dataset: The rows that the stage was trained on; None for none.
        encoding: Of the data set.
        warm: The result that it continued from; None for none.
    """
    earlier = {} if warm is None else warm.known_ids()
    trained = {}
    for name in (name for name, kind in encoding.fields.items() if kind == "token"):
        size = len(encoding.tokens[name])
        trained[name] = ~unseen_values([] if dataset is None else [dataset], name, size)
        if name in earlier:
            trained[name][earlier[name]] = True
    return trained


def _in_words(fields: Mapping[str, str]) -> str:
    return ", ".join(f"{name}:{kind}" for name, kind in fields.items())
