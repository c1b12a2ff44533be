"""Trials of a search: each runs once, is recorded immediately, and may fail."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from recbole_clickprompt.errors import DataError, SettingError, StorageError, UserError, WeightsError
from recbole_clickprompt.evaluation.tables import markdown_table, number
from recbole_clickprompt.host.properties import quote_strings
from recbole_clickprompt.host.tuning import objective_function
from recbole_clickprompt.tuning.data_files import DATA, check_same_data, data_digest
from recbole_clickprompt.tuning.results import append_row, digest, read_results

__all__ = ["Trials"]

# Errors that may be gone when the search is run again: of data, of weights, of a full disk
_OF_FILES = (DataError, WeightsError, StorageError, OSError)


class Trials:
    """The trials of one search, recorded in a table.

    Args:
        base: Settings that all trials share, including model and data set.
        table: A csv or parquet file.
        bigger: Whether a higher validation score is better.
        command: The command, for its messages.
        keep_failures: Whether failed trials are recorded, too, and thus not repeated by another search, unless
            files are the reason.
    """

    def __init__(
        self,
        base: dict[str, Any],
        table: Path,
        *,
        bigger: bool,
        command: str = "tune",
        keep_failures: bool = True,
    ) -> None:
        self._base, self._table, self._bigger = base, table, bigger
        self._command, self._keep_failures = command, keep_failures
        self._failures: list[dict[str, Any]] = []  # those that are not in the table
        self._rows = self._read()
        self._requested: dict[str, dict[str, Any]] = {}

    def run(self, values: dict[str, Any]) -> float:
        """Runs a trial, unless it is recorded, and returns its loss for hyperopt to minimize.

        The loss is the validation score, negated if higher is better, or infinity if the trial failed.

        Any exception except an interruption counts as a failure of the trial. It is not recorded if files cannot
        be used: these may be there when the search is run again.

        Raises:
            DataError: The recorded trial read other files than there are now, or one of knowledge does not exist.
        """
        now = data_digest(self._base)
        key = digest(self._base, values)
        self._requested[key] = values
        self._rows = self._read()  # another process may have added this trial
        found = self._rows[self._rows["digest"] == key]
        if not len(found):
            print(f"{self._command}: trial {len(self._requested)}: {values}", flush=True)
            row, keep = self._attempt(values)
            self._record(values, row, now, keep=keep)
            found = self._rows[self._rows["digest"] == key]
        else:
            dataset = str(self._base["dataset"])
            check_same_data(found, now, table=self._table, dataset=dataset)
        score = float(found["valid_score"].iloc[0])
        if math.isnan(score):
            return math.inf
        return -score if self._bigger else score

    def _read(self) -> pd.DataFrame:
        columns = ["valid_score", "error", "digest"]
        rows = read_results(self._table, columns, numbers=["valid_*", "test_*", "minutes"])
        return pd.concat([rows, pd.DataFrame(self._failures)], ignore_index=True) if self._failures else rows

    def _attempt(self, values: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The scores or the error of a trial, and whether to record them."""
        start = time.monotonic()
        try:
            result = objective_function(quote_strings({**self._base, **values}))
        except Exception as error:
            message = " ".join(str(error).split())
            if not isinstance(error, UserError):
                message = f"{type(error).__name__}: {message}"
            print(f"{self._command}: this trial failed: {message}", flush=True)
            keep = self._keep_failures and not isinstance(error, _OF_FILES)
            return {"valid_score": math.nan, "error": message}, keep
        row = {
            "valid_score": result["best_valid_score"],
            **{name: value for name, value in result.items() if name.startswith("valid_") and _is_number(value)},
            **{f"test_{name}": value for name, value in result["test_result"].items()},
            "minutes": round((time.monotonic() - start) / 60, 2),
            "error": None,
        }
        return row, True

    def _record(self, values: dict[str, Any], row: dict[str, Any], data: str | None, *, keep: bool) -> None:
        shown = {name: value if _is_number(value) else _flow(value) for name, value in values.items()}
        row = {**shown, **row, DATA: data, "digest": digest(self._base, values)}
        if keep:
            append_row(row, self._table)
        else:
            self._failures.append(row)
        self._rows = self._read()

    def requested(self) -> pd.DataFrame:
        """The rows of this search, best first and failed ones last."""
        rows = self._rows[self._rows["digest"].isin(list(self._requested))]
        return rows.sort_values("valid_score", ascending=not self._bigger, na_position="last", kind="stable")

    def minutes(self) -> float:
        """What the trials of this search took together, failed ones aside."""
        return float(self.requested()["minutes"].sum())

    def best(self, names: list[str]) -> dict[str, Any]:
        """The searched settings with the best validation score.

        Raises:
            SettingError: Every trial failed.
        """
        first = self.requested().iloc[0]
        if math.isnan(first["valid_score"]):
            unrecorded = {row["digest"] for row in self._failures}
            again = "" if first["digest"] in unrecorded else f"; see {self._table}; remove its rows to try again"
            raise SettingError(f"every trial failed, one with {first['error']}{again}")
        return {name: self._requested[first["digest"]][name] for name in names}

    def markdown(self, names: list[str]) -> str:
        """A table of the trials: settings, validation and test metrics, errors."""
        rows = self.requested()
        metrics = [name for name in rows.columns if name.startswith(("valid_", "test_"))]
        metrics.remove("valid_score")
        failed = ["error"] if rows["error"].notna().any() else []
        lines = []
        for row in rows.to_dict("records"):
            values = self._requested[row["digest"]]
            shown = [
                f"{values[name]:.6g}" if isinstance(values[name], float) else _flow(values[name]) for name in names
            ]
            scores = [number(row[name]) for name in metrics]
            errors = ["" if pd.isna(row[name]) else str(row[name]).replace("|", "/")[:80] for name in failed]
            lines.append([*shown, *scores, *errors])
        return markdown_table([*names, *metrics, *failed], lines)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flow(value: object) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")
