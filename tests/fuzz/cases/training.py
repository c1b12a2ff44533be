"""What a training reads: pretraining checkpoints, caches, unfinished states and PLM folders, through ``run``."""

from __future__ import annotations

from pathlib import Path
from random import Random

from safetensors.torch import save_file

from recbole_clickprompt.tensor_cache import TensorCache
from tests.fuzz.case import Attempt, Case, Judge
from tests.fuzz.cases.common import edit_bytes, edit_json
from tests.fuzz.cases.models import edit_pickle, edit_safetensors
from tests.fuzz.material import logged_result
from tests.fuzz.sandbox import Answer

RUN = ["run", "--config_files=small.yaml"]
NO_PLM = [*RUN, "--model=ClickPromptNoPLM"]


def same_result(name: str) -> Judge:
    """The judge of a run that should reach what the unmutated one did, in ``result-<name>.txt``."""

    def judge(answer: Answer) -> str:
        found = logged_result(answer.err)
        if found is None:
            return "no test result"
        expected = Path(f"result-{name}.txt").read_text(encoding="utf-8")
        return "" if found == expected else f"the test result is {found}, not {expected}"

    return judge


class StageCheckpoint(Case):
    """Pretraining that is reused, tokens and states that are cached: used as they were written, or refused."""

    name = "stage checkpoints and caches"
    weight = 2
    outputs = ("saved",)

    def attempt(self, rng: Random) -> Attempt:
        pattern, name, command = rng.choice(
            [
                ("*-pretrained-*.safetensors", "plain", [*NO_PLM, "--backbone=DeepFM"]),
                ("*-pretrained-*.history.jsonl", "plain", [*NO_PLM, "--backbone=DeepFM"]),
                ("tokens-*.safetensors", "text", [*RUN, "--model=ClickPrompt", "--train_stage=finetune"]),
                ("states-*.safetensors", "with",
                 [*RUN, "--model=ClickPrompt", "--train_stage=finetune", "--plm_interaction_layers=1"]),
            ]
        )  # fmt: skip
        path = rng.choice(sorted(Path("saved").glob(pattern)))
        judge: Judge = same_result(name)
        if path.suffix != ".safetensors" or rng.random() < 0.3:
            return Attempt(edit_bytes(path, rng), command, judge)
        metadata, tensors, what = edit_safetensors(path, rng)
        if rng.random() < 0.7:
            what += ", with its checksum"
            cache = TensorCache(metadata.get("format", ""), "", "")
            if path.name.startswith("tokens"):
                from recbole_clickprompt.host import token_cache

                cache = TensorCache(metadata.get("format", ""), "", "", token_cache._hashed)
            try:
                metadata["sha256"] = cache._checksum(metadata, tensors)
                judge = lambda answer: ""  # noqa: E731 - another content, rightly signed
            except Exception:  # what the checksum covers is not there
                what += " of before"
        save_file(tensors, path, metadata=metadata)
        return Attempt(f"{path.name}: {what}", command, judge)


class ResumeState(Case):
    """The state of an unfinished training: the same result, but for changed numbers."""

    name = "resume states"
    weight = 2
    outputs = ("states",)

    def attempt(self, rng: Random) -> Attempt:
        (path,) = Path("states").glob("*.resume")
        judge = same_result("resumed")
        if rng.random() < 0.25:
            what = edit_bytes(path, rng)
        else:
            what, node = edit_pickle(path, rng)
            if node and node[0] in ("model", "optimizer", "scheduler", "progress", "order", "random", "own"):
                judge = lambda answer: ""  # noqa: E731 - another state, where it can be one at all
        resume = rng.choice(["auto", str(path)])
        command = [*NO_PLM, "--train_stage=finetune", "--checkpoint_dir=states", f"--resume={resume}"]
        return Attempt(what, command, judge)


class PlmFolder(Case):
    """Config, tokenizer and weights of a language model."""

    name = "PLM folders"
    weight = 3
    outputs = ("saved",)

    def attempt(self, rng: Random) -> Attempt:
        path = rng.choice(sorted(Path("plm").iterdir()) + [Path("plm/config.json")] * 2)
        if path.suffix == ".json":
            what, _ = edit_json(path, rng)
        elif rng.random() < 0.6:
            metadata, tensors, what = edit_safetensors(path, rng)
            save_file(tensors, path, metadata=metadata)
            what = f"{path.name}: {what}"
        else:
            what = edit_bytes(path, rng)
        return Attempt(what, [*RUN, "--model=ClickPrompt", "--train_stage=finetune", "--checkpoint_dir=out"])


class RawFiles(Case):
    """A publisher's archive, through ``prepare``."""

    name = "raw archives"
    weight = 1

    def attempt(self, rng: Random) -> Attempt:
        return Attempt(edit_archive(Path("ml-1m.zip"), rng), ["prepare", "ml-1m", "--raw=ml-1m.zip", "--out=out"])


def edit_archive(path: Path, rng: Random) -> str:
    """Changes a file in a zip archive, or bytes of the archive; says how."""
    import zipfile

    from tests.fuzz.mutators import mutate_lines

    if rng.random() < 0.3:
        return edit_bytes(path, rng)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([name for name in files if name.endswith(".dat")])
    text, what = mutate_lines(files[name].decode("latin-1"), "::", rng)
    files[name] = text.encode("latin-1", "replace")
    with zipfile.ZipFile(path, "w") as archive:
        for other, content in files.items():
            archive.writestr(other, content)
    return f"{name}: {what}"
