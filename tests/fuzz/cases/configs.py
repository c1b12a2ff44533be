"""YAML: property files, value words, grids and searches, and RecBole's search files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tests.fuzz.case import Attempt, Case
from tests.fuzz.cases.common import edit_bytes
from tests.fuzz.mutators import ODD_TEXTS, ODD_VALUES, mutate_lines, mutate_tree, nested
from tests.fuzz.sandbox import Answer

_EXPANDING = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
# Each stands for the value of a key, or for a line of its own
_VALUES = [
    "&s [*s]", "&s {a: *s}", "*unknown", "2020-02-30", "2020-13-45 99:99:99", "1:30", "!!python/none",
    "!!binary 'é'",
    "!!python/object/apply:os.getcwd []", "!!set {a, b}", "!!timestamp x", "!!int x", "!!float x", "[", "{a: b",
    "? x",
    "'", '"\\x', "|\n   a\n  b", "- a", "0o17", "017", ".inf", ".nan", "~", "NO", "1e400", "&a *a", "<<", "1_000",
    "!!omap [a, b]", "!!int ''", "2001-01-01", "0b12", "+.", "!!bool x", "!!null x", "!<x> y", "%TAG ! x", "\t",
]  # fmt: skip
_LINES = [
    "<<: *s", "<<: 1", "<<: [a]", "? [a, b]\n: c", "? {a: b}\n: c", "--- \na: b", "...\na: b", "%YAML 9.9",
    "a: b: c",
    "\tx: 1", "1: 2", "null: 3", "true: x", "'': 1", "x", "- x", "&x key: *x", _EXPANDING,
]  # fmt: skip


class _Loader(yaml.SafeLoader):
    """PyYAML's, but dates are texts, as in the package."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith("timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def edit_yaml(path: Path, rng: Random, *, odd: list[Any] | None = None) -> tuple[str, tuple[Any, ...]]:
    """Changes a node, a line or bytes of a YAML file; says how, and which node."""
    kind = rng.choice(["tree"] * 6 + ["value", "value", "line", "lines", "bytes", "deep", "odd value"])
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    if kind == "tree":
        tree, what, node = mutate_tree(yaml.safe_load(text), rng, odd)
        try:
            new = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        except RecursionError:
            new = json.dumps(tree)  # YAML as well
        path.write_text(new, encoding="utf-8")
        return f"{path.name}: {what}", node
    if kind in ("value", "odd value"):
        value = rng.choice(_VALUES if kind == "value" else ODD_TEXTS)
        lines[at] = re.sub(r": .*", lambda _: f": {value}", lines[at], count=1)
    elif kind == "line":
        lines.insert(at, rng.choice(_LINES))
    elif kind == "deep":
        lines[at] = lines[at].partition(": ")[0] + ": " + rng.choice(["[" * 3000, "{a: " * 2000, str(nested(900))])
    elif kind == "lines":
        new, _ = mutate_lines(text, " ", rng)
        lines = new.split("\n")
    if kind == "bytes":
        return edit_bytes(path, rng), ()
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"{path.name}: {kind}, line {at + 1}: {lines[min(at, len(lines) - 1)][:80]}", ()


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: node.value)


def lacking(path: Path, before: dict[str, Any]) -> list[str]:
    """Arguments for the settings that a changed file lacks: with the defaults, runs would take minutes."""
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8-sig"))["settings"]
        return [f"--{key}={value}" for key, value in before.items() if key not in settings and key != "eval_args"]
    except Exception:  # PyYAML fails in many ways
        return [f"--{key}={value}" for key, value in before.items() if key != "eval_args"]


class PropertyFile(Case):
    """A setting has the value that the file holds, or there is an error."""

    name = "property files"
    weight = 4
    # RecBole makes something else of them
    _CHANGED = {"data_path", "metrics", "valid_metric", "gpu_id", "topk", "checkpoint_dir", "plm", "device"}

    def attempt(self, rng: Random) -> Attempt:
        what, _ = edit_yaml(Path("small.yaml"), rng)
        command = ["show", "--config_files=small.yaml", "--model=ClickPrompt"]
        if rng.random() < 0.25:
            command = ["run", "--config_files=small.yaml", "--model=ClickPromptNoPLM", "--train_stage=finetune",
                       "--epochs=1", "--backbone=FM", "--embedding_size=4", "--checkpoint_dir=out"]  # fmt: skip
        return Attempt(what, command, lambda answer: self._judge(answer, command), outputs=None)

    def _judge(self, answer: Answer, command: list[str]) -> str:
        try:
            given = yaml.load(Path("small.yaml").read_text(encoding="utf-8-sig"), _Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            return f"accepted, where PyYAML refuses the file: {' '.join(str(error).split())[:200]}"
        for key, value in (given or {}).items():
            overridden = any(argument.startswith(f"--{key}=") for argument in command)
            number = isinstance(value, str) and re.fullmatch(r"[-+.\d_]+[eE][-+]?\d+", value)
            if key in self._CHANGED or overridden or isinstance(value, dict) or number:
                continue
            if repr(answer.config.get(key)) != repr(value):
                return f"{key} is {value!r:.60} in the file and {answer.config.get(key)!r:.60} in the run"
        return ""


class DataSetProperties(Case):
    """``props/dataset/<name>.yaml``, with the words of values."""

    name = "value words"
    weight = 2

    def attempt(self, rng: Random) -> Attempt:
        path = Path("props/dataset/mini.yaml")
        what, _ = edit_yaml(path, rng)
        return Attempt(
            what, ["show", "--config_files=small.yaml", "--model=ClickPrompt", "--rows=100000"], self._judge
        )

    def _judge(self, answer: Answer) -> str:
        given = yaml.load(Path("props/dataset/mini.yaml").read_text(encoding="utf-8-sig"), yaml.BaseLoader) or {}
        words = given.get("value_labels")
        for field, labels in words.items() if isinstance(words, dict) else ():
            for label in (
                labels.values() if isinstance(labels, dict) and field in given.get("text_fields", {}) else ()
            ):
                if label and label not in answer.out and "no row" not in answer.err:
                    return f"{field}: no row has the words {label!r} and no line says so"
        return ""


class GridFile(Case):
    """A run per combination."""

    name = "grid files"
    weight = 2
    outputs = ("results", "saved")  # and any new file: the file names its results and its checkpoints

    def attempt(self, rng: Random) -> Attempt:
        path = Path("grid.yaml")
        settings = yaml.safe_load(path.read_text())["settings"]
        what, _ = edit_yaml(path, rng)
        return Attempt(what, ["grid", "grid.yaml", *lacking(path, settings)], self._judge, outputs=None)

    def _judge(self, answer: Answer) -> str:
        grid = yaml.safe_load(Path("grid.yaml").read_text(encoding="utf-8-sig"))
        cells = len(grid["runs"]) * len(grid.get("seeds") or [0])
        for values in (grid.get("vary") or {}).values():
            cells *= len(values)
        counted = {int(number) for number in re.findall(r"grid: run \d+ of (\d+)", answer.out)}
        return f"{cells} runs are described, and the output counts {counted}" if counted - {cells} else ""


class SearchFile(Case):
    """Tuning files, and RecBole's own search files that they name."""

    name = "search files"
    weight = 2
    outputs = ("results", "saved")  # and any new file: the file names its results and its checkpoints

    def attempt(self, rng: Random) -> Attempt:
        path, tuning = Path("hyper.test"), Path("tuning.yaml")
        settings = yaml.safe_load(tuning.read_text())["settings"]
        if rng.random() < 0.6:
            what, _ = edit_yaml(
                tuning, rng, odd=[*ODD_VALUES[:30], "choice [1e-3]", "uniform 0 1", "quniform 1, 2, 0"]
            )
        else:
            if rng.random() < 0.5:
                new, what = mutate_lines(path.read_text(), " ", rng)
                path.write_bytes(new.encode("utf-16" if what.startswith("utf-16") else "utf-8"))
            else:
                what = edit_bytes(path, rng)
            what = f"{path.name}: {what}"
            content = yaml.safe_load(tuning.read_text())
            tuning.write_text(yaml.safe_dump({**content, "space": "hyper.test"}))
        return Attempt(what, ["tune", "tuning.yaml", *lacking(tuning, settings)], outputs=None)
