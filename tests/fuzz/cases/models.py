"""Trained models: checkpoints, exports, published and preprocessing folders, with and without their checksums."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from recbole_clickprompt.preprocessing.checksums import CHECKSUMS, write_checksums
from tests.fuzz.case import Attempt, Case
from tests.fuzz.cases.common import edit_bytes, edit_json, odd_tensors
from tests.fuzz.mutators import mutate_tree
from tests.fuzz.sandbox import Answer


def edit_pickle(path: Path, rng: Random, *, only: tuple[str, ...] = ()) -> tuple[str, tuple[Any, ...]]:
    """Changes a node or a tensor of a file of torch; says how, and which."""
    state = torch.load(path, weights_only=True)
    part = rng.choice(only or list(state))
    if rng.random() < 0.15:
        state, what, node = mutate_tree(state, rng)
    elif (
        isinstance(state[part], dict)
        and state[part]
        and isinstance(next(iter(state[part].values())), torch.Tensor)
    ):
        name = rng.choice(list(state[part]))
        odd = rng.choice(odd_tensors(state[part][name]))
        state[part][name] = odd
        shown = (odd.dtype, tuple(odd.shape)) if isinstance(odd, torch.Tensor) else f"{odd!r:.30}"
        what, node = f"{part}.{name}: {shown}", (part, name)
    else:
        changed, what, node = mutate_tree({part: state[part]}, rng)
        if isinstance(changed, dict) and part in changed:
            changed = {**state, **changed}
        state = changed
    torch.save(state, path)
    return f"{path.name}: {what}", node


def same_scores(name: str, answer: Answer) -> str:
    """What is wrong with ``out.csv``, which should have the scores of the unmutated model."""
    scores = pd.read_csv("out.csv")["score"].to_numpy()
    expected = pd.read_csv(f"scores-{name}.csv")["score"].to_numpy()
    if len(scores) != len(expected):
        return f"{len(scores)} scores for {len(expected)} rows"
    if not np.allclose(scores, expected, atol=1e-6):
        return f"scores differ by up to {np.abs(scores - expected).max():.2g}"
    return ""


def any_scores(answer: Answer) -> str:
    """What is wrong with ``out.csv``, which should have a score for each row."""
    scores = pd.read_csv("out.csv")["score"]
    rows = len(pd.read_csv("rows.csv"))
    return "" if len(scores) == rows and scores.between(0, 1).all() else "not a score from 0 to 1 for each row"


class Checkpoint(Case):
    """``.pth`` files: equal scores, but for changed weights and settings of the model."""

    name = "checkpoints"
    weight = 4
    outputs = ("out.csv", "saved")
    # Settings that a model is made of: with weights of the same shapes it is another one
    _OF_THE_MODEL = ("state_dict", "other_parameter")

    def attempt(self, rng: Random) -> Attempt:
        name = rng.choice(["plain", "text"])
        path = Path(f"saved/{name}.pth")
        if rng.random() < 0.25:
            what, node = edit_bytes(path, rng), ()
        else:
            what, node = edit_pickle(path, rng, only=rng.choice([(), ("config",), ("config",), ("state_dict",)]))
        if rng.random() < 0.8:
            changed = bool(node) and node[0] in self._OF_THE_MODEL
            judge = any_scores if changed else lambda answer: same_scores(name, answer)
            return Attempt(what, ["predict", str(path), "rows.csv", "--keep=n", "--output=out.csv"], judge)
        command = rng.choice(
            [
                ["latency", str(path), "--batches=1", "--rounds=1", "--batch-size=8", "--device=cpu"],
                ["attention", str(path), "--rows=2"],
                ["export", str(path), "--out=out/export", "--rows=5"],
                ["report", str(path), "--out=out/page.html", "--samples=10", "--latency"],
            ]
        )
        return Attempt(what, command)


class Preprocessing(Case):
    """The preprocessing of a run: a change is refused, and one with right checksums gives a score per row."""

    name = "preprocessing"
    weight = 3
    outputs = ("out.csv",)

    def attempt(self, rng: Random) -> Attempt:
        name = rng.choice(["plain", "text"])
        return _edited_folder(Path(f"saved/{name}/preprocessing"), name, ["predict", f"saved/{name}"], rng)


class Export(Case):
    """The folder of an export."""

    name = "exports"
    weight = 3
    outputs = ("out.csv",)

    def attempt(self, rng: Random) -> Attempt:
        return _edited_folder(Path("export"), "export", ["predict", "export"], rng)


class Published(Case):
    """The folder of a published model."""

    name = "published models"
    weight = 3
    outputs = ("out.csv",)

    def attempt(self, rng: Random) -> Attempt:
        return _edited_folder(Path("published"), "text", ["predict", "published"], rng)


def _edited_folder(folder: Path, name: str, command: list[str], rng: Random) -> Attempt:
    editable = ("score.py", "README.md")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in editable]
    path = rng.choice(files)
    before = path.read_bytes()
    if path.suffix == ".json":
        what, _ = edit_json(path, rng)
    elif path.suffix == ".safetensors" and rng.random() < 0.7:
        metadata, tensors, what = edit_safetensors(path, rng)
        save_file(tensors, path, metadata=metadata)
    else:
        what = edit_arrays(path, rng) if path.suffix == ".npz" and rng.random() < 0.7 else edit_bytes(path, rng)
    if rng.random() < 0.05:
        path.unlink()
        what = f"{path.name} is missing"
    unchanged = path.is_file() and path.read_bytes() == before
    judge: Any = (lambda answer: "") if unchanged else lambda answer: f"accepted, though {what}"
    if path.name == CHECKSUMS:
        judge = lambda answer: same_scores(name, answer)  # noqa: E731
    elif rng.random() < 0.75:
        for sums in sorted(folder.rglob(CHECKSUMS), reverse=True):  # those of a folder in it first
            write_checksums(sums.parent, but=editable)
        judge, what = any_scores, f"{what}, with its checksum"
    return Attempt(what, [*command, "rows.csv", "--keep=n", "--output=out.csv"], judge)


def edit_arrays(path: Path, rng: Random) -> str:
    """Changes one array of an npz file; says how."""
    with np.load(path) as archive:
        arrays = dict(archive)
    name = rng.choice(list(arrays))
    array = arrays[name]
    changes: dict[str, Any] = {
        "float64": array.astype(np.float64), "int8": array.astype(np.int8), "text": array.astype(str),
        "negative": -array - 1, "huge": array + 10**9, "flat": array.ravel(), "shorter": array[:-1],
        "longer": np.concatenate([array, array]), "another axis": array[None], "empty": array[:0],
        "reversed": array[::-1], "nan": array * np.float32("nan"), "objects": array.astype(object), "gone": None,
    }  # fmt: skip
    kind = rng.choice(list(changes))
    arrays[name] = changes[kind]
    if kind == "gone":
        del arrays[name]
    np.savez(path, **arrays)
    return f"{path.name}: {name} {kind}"


def edit_safetensors(path: Path, rng: Random) -> tuple[dict[str, str], dict[str, torch.Tensor], str]:
    """Metadata and tensors of a safetensors file with one of them changed, and what was done."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata, tensors = dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if rng.random() < 0.5 and metadata:
        key = rng.choice(list(metadata))
        try:
            tree, what, _ = mutate_tree(json.loads(metadata[key]), rng)
            metadata[key] = json.dumps(tree)
        except ValueError:
            metadata[key], what = rng.choice(["", "x", "null", "[]", "1e400", "{}"]), "text"
        return metadata, tensors, f"metadata {key}: {what}"
    name = rng.choice(list(tensors))
    odd = rng.choice(
        [value for value in odd_tensors(tensors[name]) if isinstance(value, torch.Tensor) or value is None]
    )
    if odd is None:
        del tensors[name]
    else:
        tensors[name] = odd.contiguous()
    return metadata, tensors, f"{name}: {'gone' if odd is None else (odd.dtype, tuple(odd.shape))}"
