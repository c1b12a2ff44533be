"""The tables of a grid with ``costs``: qualities with tests over users and seeds, and what each model costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from recbole_clickprompt.commands.cold_times import cold_ms
from recbole_clickprompt.commands.prediction_timer import PredictionTimer
from recbole_clickprompt.commands.restored_runs import default_device, visit_runs
from recbole_clickprompt.commands.stored_reads import item_bytes, read_parameters
from recbole_clickprompt.errors import SettingError

if TYPE_CHECKING:
    from recbole_clickprompt.evaluation.costs import Costs
    from recbole_clickprompt.evaluation.run_folder import RunFolder
    from recbole_clickprompt.host.restore import Restored

__all__ = ["check_costs", "measure_costs", "methods_report"]

_BATCH_SIZE = 128
_READ_ROWS = 16


def check_costs(grid: Mapping[str, Any], configs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Checks, before anything is trained, that a grid with ``costs`` can be compared.

    Raises:
        SettingError: There is no baseline, settings are varied, or runs save no predictions.
    """
    if grid.get("baseline") is None:
        raise SettingError(f"{path}: costs compares runs with a baseline; name one of the runs in baseline")
    if grid.get("vary"):
        raise SettingError(f"{path}: costs does not go with vary; make each combination one of the runs")
    if any(config.get("save_predictions") is False for config in configs):
        raise SettingError(f"{path}: costs reads the predictions of all runs; leave out save_predictions: False")


def methods_report(results: pd.DataFrame, *, baseline: str, seed: int, table: Path) -> str:
    """Both tables in words; also written next to the table of results, and costs into the folders of the runs.

    Args:
        results: One row per run and seed.
        baseline: The run that others are compared with.
        seed: The seed whose runs are restored to measure costs.
        table: The file of the results.

    Raises:
        DataError: A run has no folder, test rows differ or are fewer than 128, or a knowledge file is damaged.
        WeightsError: A checkpoint cannot be restored.
    """
    from recbole_clickprompt.evaluation.clustered import CLUSTERED_NOTE, compare_methods, quality_table
    from recbole_clickprompt.evaluation.costs import costs_table, write_costs
    from recbole_clickprompt.evaluation.run_folder import open_run
    from recbole_clickprompt.evaluation.tables import write_table

    qualities = compare_methods(results, baseline=baseline)
    write_table(qualities, table.with_name(f"{table.stem}-quality{table.suffix}"))
    rows = results[results["seed"] == seed]
    runs = {name: open_run(path) for name, path in zip(rows["run"], rows["checkpoint"], strict=True)}
    costs = measure_costs(runs, dict(zip(rows["run"], rows["minutes"], strict=True)))
    for name, run in runs.items():
        write_costs(run.folder, costs[name])
    lines = pd.DataFrame([{"run": name, **run._asdict()} for name, run in costs.items()])
    write_table(lines, table.with_name(f"{table.stem}-costs{table.suffix}"))
    how = f"Costs of the runs with seed {seed}; times: {next(iter(costs.values())).how}."
    return "\n\n".join([quality_table(qualities), CLUSTERED_NOTE, costs_table(costs), how])


def measure_costs(runs: Mapping[str, RunFolder], minutes: Mapping[str, float]) -> dict[str, Costs]:
    """The costs of finished runs on the same test rows, whose times are measured side by side.

    Args:
        runs: By name.
        minutes: Of training, by name.

    Raises:
        DataError: As for ``methods_report``.
        WeightsError: A checkpoint cannot be restored.
    """
    from recbole_clickprompt.evaluation.costs import Costs

    device = default_device()
    timer = PredictionTimer(device, batch_size=_BATCH_SIZE)
    found: dict[str, dict[str, Any]] = {}

    def visit(name: str, run: Restored) -> None:
        timer.add(name, run)  # first, as it checks the number of rows
        found[name] = _costs_of(run)

    visit_runs(runs, visit, device=device)
    times, how = timer.measure(next(iter(runs)))
    times = times.set_index("run")
    return {
        name: Costs(
            **costs,
            minutes=float(minutes[name]),
            warm_ms=float(times.loc[name, "median_ms"]),
            warm_p95_ms=float(times.loc[name, "p95_ms"]),
            how=how,
        )
        for name, costs in found.items()
    }


def _costs_of(run: Restored) -> dict[str, Any]:
    """What can be measured of one run alone."""
    from recbole_clickprompt.knowledge.costs import teacher_tokens
    from recbole_clickprompt.knowledge.embedded import find_knowledge
    from recbole_clickprompt.knowledge.records import read_records
    from recbole_clickprompt.methods.registry import find_method
    from recbole_clickprompt.trainer.sampling import sample
    from recbole_clickprompt.trainer.stage import autocast

    config, model, valid = run.config, run.model, run.valid_data._dataset
    device, item_field = config["device"], valid.iid_field
    items = sample(config, run.train_data._dataset, "train_rows").inter_feat[item_field].unique().tolist()

    def score(rows: Any) -> None:
        with autocast(device, config["enable_amp"]):
            model.predict(rows)

    # Rows that are not timed, so that those are new to the model
    rows = valid[: min(_READ_ROWS, len(valid))].to(device)
    first, again = (read_parameters(model, lambda: score(rows)) for _ in range(2))
    answers = [
        record
        for name in find_method(config["model"]).answer_files(config)
        for record in read_records(find_knowledge(name))
    ]
    return {
        "parameters": max(_parameters(model), *_stage_parameters(run)),
        "served_parameters": first,
        "cold_ms": cold_ms(run, device, batch_size=_BATCH_SIZE, caches_rows=again < first),
        "item_bytes": item_bytes(model, rows[:1], score, field=item_field, items=items),
        "teacher_tokens": teacher_tokens(answers),
    }


def _stage_parameters(run: Restored) -> list[int]:
    """The parameters of the model of each stage that preceded finetuning; [0] without any."""
    from recbole_clickprompt.methods.registry import find_method
    from recbole_clickprompt.trainer.stages import stages_of

    config, counts = run.config, [0]
    for stage in stages_of(config, find_method(config["model"]).stages):
        rows = stage.training_rows(config, run.train_data, run.valid_data)
        counts.append(_parameters(stage.build(config, rows)))
    return counts


def _parameters(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())
