"""List finished runs, show one, or remove some.

`runs` lists the runs below a folder, newest first; `runs show RUN` prints what is known about one, with all of its
settings; `runs rm RUN ...` removes the folder and the checkpoint of each run, and prints what it has removed.
Pretrained models and cached tokens, which several runs share, stay. Nothing is removed if an argument is no run.

Reads only the run folders: no data set, no model, no GPU.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_clickprompt.commands.arguments import reject_settings
from recbole_clickprompt.errors import DataError, SettingError
from recbole_clickprompt.files import is_partial

if TYPE_CHECKING:
    from recbole_clickprompt.evaluation.run_folder import RunFolder

__all__ = ["add_arguments", "execute"]

_FILES = {
    "costs.json", "history.jsonl", "history.jsonl.lock", "predictions.parquet", "run.json", "train_counts.parquet",
}  # fmt: skip
_COMMAND_WIDTH = 100  # characters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, with which runs."""
    parser.add_argument(
        "action", nargs="?", choices=("list", "show", "rm"), default="list", help="default: %(default)s"
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run's .pth file or the folder next to it")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="folder of the list (default: saved)")


def execute(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Prints a table of runs or the details of one, or removes runs.

    Raises:
        SettingError: An argument is unknown, missing or without effect.
        DataError: There is no such folder, an argument is no finished run, or its folder contains other files.
    """
    from recbole_clickprompt.evaluation.run_folder import open_run

    reject_settings(options, settings)
    if options.action == "list":
        if options.runs:
            raise SettingError(f"runs list takes no run, got {options.runs[0]}; --folder=DIR selects a folder")
        print(_table(options.folder or Path("saved")))
        return
    if options.folder is not None:
        raise SettingError(f"--folder has no effect for runs {options.action}; leave it out")
    if not options.runs or (options.action == "show" and len(options.runs) > 1):
        expected = "one run" if options.action == "show" else "one or more runs"
        raise SettingError(f"runs {options.action} takes {expected}, got {len(options.runs)}")
    if options.action == "show":
        print(_details(open_run(options.runs[0])))
        return
    runs = {run.folder.resolve(): run for run in map(open_run, options.runs)}
    files = {folder: _files_to_remove(run) for folder, run in runs.items()}  # checks all before removing any
    for folder, run in runs.items():
        _remove(folder, files[folder])
        checkpoints = [path for path in files[folder] if path.parent != run.folder]
        print(*(f"removed {path}" for path in (run.folder, *checkpoints)), sep="\n")


def _table(folder: Path) -> str:
    from recbole_clickprompt.evaluation.run_folder import find_runs
    from recbole_clickprompt.evaluation.tables import markdown_table

    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give the checkpoint_dir of your runs as --folder=DIR")
    header = ["run", "data set", "model", "backbone", "seed", "validation AUC", "test AUC", "date", "command"]
    rows = [
        [
            str(run.folder), run.info["dataset"], run.title, run.info["backbone"], str(run.info["seed"]),
            _validation(run), _number(_test_result(run).get("auc")), f"{run.date:%Y-%m-%d %H:%M}",
            _shortened(shlex.join(run.info["command"])),
        ]
        for run in find_runs(folder)
    ]  # fmt: skip
    return markdown_table(header, rows) if rows else f"there are no finished runs below {folder}"


def _details(run: RunFolder) -> str:
    import yaml

    lines = {
        "run": run.folder,
        "checkpoint": run.checkpoint if run.checkpoint.is_file() else "missing",
        "model": run.title,
        "data set": run.info["dataset"],
        "backbone": run.info["backbone"],
        "seed": run.info["seed"],
        "validation": f"{_number(run.info.get('best_valid_score'))} ({run.info['settings'].get('valid_metric')})",
        "test": ", ".join(f"{name} {_number(value)}" for name, value in _test_result(run).items()),
        "date": f"{run.date:%Y-%m-%d %H:%M}",
        "command": shlex.join(run.info["command"]),
    }
    settings = yaml.safe_dump(run.info["settings"], allow_unicode=True, sort_keys=True)
    return "\n".join([*(f"{name:<12}{value}" for name, value in lines.items()), "settings", settings.rstrip()])


def _validation(run: RunFolder) -> str:
    metric = str(run.info["settings"].get("valid_metric"))
    score = _number(run.info.get("best_valid_score"))
    return score if metric.lower() == "auc" else f"{score} ({metric})"


def _test_result(run: RunFolder) -> dict[str, Any]:
    result = run.info.get("test_result")
    return result if isinstance(result, dict) else {}


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else ""


def _shortened(text: str) -> str:
    return text if len(text) <= _COMMAND_WIDTH else f"{text[:_COMMAND_WIDTH]} ..."


def _files_to_remove(run: RunFolder) -> list[Path]:
    """The checkpoint of a run, its sharded tables and the files in its folder, in the order of their removal.

    ``run.json`` is last, so that an interrupted removal can be repeated.

    Raises:
        DataError: The folder is a link, or contains files that are not of a run.
    """
    from recbole_clickprompt.embeddings.files import tables_folder
    from recbole_clickprompt.preprocessing.from_dataset import PREPROCESSING
    from recbole_clickprompt.preprocessing.preprocessing import PREPROCESSING_FILES

    known = {*_FILES, PREPROCESSING, *(f"{PREPROCESSING}/{name}" for name in PREPROCESSING_FILES)}
    if run.folder.is_symlink():
        raise DataError(f"{run.folder} is a link to a run; give its folder {run.folder.resolve()}")
    inside = sorted(run.folder.iterdir(), key=lambda path: path.name == "run.json")
    for path in [*inside, *(run.folder / PREPROCESSING).glob("*")]:
        name = str(path.relative_to(run.folder))
        if name not in known and not is_partial(path):
            raise DataError(f"{run.folder} contains {name}, which is not of a run; move it, or remove it first")
    checkpoint = run.checkpoint
    # If only the folder was copied, the checkpoint belongs to the folder of its name
    of_other_run = checkpoint.with_suffix("").is_dir() and not checkpoint.with_suffix("").samefile(run.folder)
    own = [] if of_other_run else [path for path in (checkpoint, tables_folder(checkpoint)) if path.exists()]
    return [*own, *inside]


def _remove(folder: Path, files: Sequence[Path]) -> None:
    for path in files:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.rmdir()
