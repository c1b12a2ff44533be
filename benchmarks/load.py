"""Memory and time of start-up, token table and first training steps on a large generated data set.

    python -m benchmarks.load --users=1000000 --items=1000000 --rows=10000000 --folder=/tmp/load
    python -m benchmarks.load --items=1000000 --description_words=60 --steps=0 --rounds=0 --folder=/tmp/load

Each line is a phase of one process: wall time, CPU time, and the peak memory of the process so far. Users and
items follow power laws, and each occurs in at least one row. Large embedding tables are updated lazily; the last
phase compares such a step with one that updates all rows. The folder is kept and reused; remove it yourself.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import measured
from benchmarks.rowwise import ROWWISE_STEPS, build_trainer, step_seconds

if TYPE_CHECKING:
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader

CHUNK, CHUNK_ITEMS = 1_000_000, 50_000
STEEPNESS = 2
ADJECTIVES = ["Golden", "Silent", "Bitter", "Happy", "Haunted", "Sunny", "Grim"]
NOUNS = ["River", "Garden", "Mountain", "Road", "House", "Summer", "Letter", "Train", "Island", "Clock", "Bridge"]
GENRES = ["Comedy", "Drama", "Thriller", "Sci-Fi", "Western"]
JOBS = ["painter", "miner", "baker", "poet", "nurse", "pilot"]
SETTINGS = {
    "load_col": None,
    "unused_col": {"inter": ["timestamp"]},
    "whole_text_fields": ["title"],
    "text_fields": {
        "user_id": "user ID",
        "gender": "gender",
        "job": "job",
        "item_id": "film ID",
        "title": "title",
    },
    "value_labels": {},
    "gpu_id": "",
    "state": "error",
    "show_progress": False,
    "epochs": 1,
    "embedding_size": 16,
    "train_batch_size": 1024,
    "micro_batch_size": 64,
    "plm": "minilm",
    "plm_num_layers": 1,
    "train_stage": "finetune",
    "lazy_embedding_min_rows": 10_000,
}


def main() -> None:
    """Generates the data set if it is missing, and runs the phases in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("users", 100_000), ("items", 100_000), ("rows", 1_000_000)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    parser.add_argument(
        "--steps", type=int, default=1000, help="steps of the plain backbone (default: %(default)s)"
    )
    parser.add_argument(
        "--plm_steps", type=int, default=10, help="steps with the PLM, 0 for none (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=10,
        help="rounds that compare lazy and full updates, 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--description_words",
        type=int,
        default=0,
        help="length of a description of each item, which language models alone read (default: no description)",
    )
    parser.add_argument("--folder", type=Path, required=True, help="for the generated data set")
    parser.add_argument("--part", choices=["generate", "run"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    name = f"load-{options.users}-{options.items}-{options.rows}-{options.description_words}"
    if options.part == "generate":
        sizes = {"users": options.users, "items": options.items, "rows": options.rows}
        generate(options.folder / name, **sizes, description_words=options.description_words)
    elif options.part == "run":
        described = {"text_only_fields": ["description"]} if options.description_words else {}
        run(options.folder, name, options.steps, options.plm_steps, options.rounds, described)
    else:
        again = [sys.executable, "-W", "ignore", "-m", "benchmarks.load", *sys.argv[1:]]
        if not (options.folder / name / f"{name}.inter").is_file():
            print(f"generated in {measured([*again, '--part=generate'])}")
        print(f"{options.users:,} users, {options.items:,} items, {options.rows:,} rows", flush=True)
        print("\n| phase | time | CPU time | peak memory |\n|---|---|---|---|", flush=True)
        cost = measured([*again, "--part=run"])
        print(f"| all | {cost.seconds:.1f} s | {cost.cpu_seconds:.1f} s | {cost.peak_bytes / 1e9:.2f} GB |")


def generate(folder: Path, *, users: int, items: int, rows: int, description_words: int, seed: int = 0) -> None:
    """Writes atomic files named like their folder, the interactions last; 0 words are no descriptions."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)

    def write(source: str, header: str, frames: Iterator[pl.DataFrame]) -> None:
        with (folder / f"{folder.name}.{source}").open("wb") as stream:
            stream.write(f"{header}\n".replace(" ", "\t").encode())
            for frame in frames:
                frame.write_csv(stream, separator="\t", include_header=False)

    def draw(words: list[str], size: int) -> pl.Series:
        return pl.Series(words).gather(random.integers(0, len(words), size))

    user = pl.format("u{}", pl.int_range(users))
    people = pl.select(user).with_columns(gender=draw(["F", "M"], users), job=draw(JOBS, users))
    write("user", "user_id:token gender:token job:token", iter([people]))

    def films() -> Iterator[pl.DataFrame]:
        for start in range(0, items, CHUNK_ITEMS):
            size = min(CHUNK_ITEMS, items - start)
            parts = {"a": draw(ADJECTIVES, size), "b": draw(NOUNS, size), "c": draw(NOUNS, size)}
            title = pl.format("{} {} and {} {}", "a", "b", "c", "n").alias("title")
            frame = pl.DataFrame({"n": range(start, start + size), **parts}).select(
                pl.format("i{}", "n"), title, draw(GENRES, size).alias("genre")
            )
            if description_words:
                words = [draw(NOUNS, size).str.to_lowercase().alias(f"{n}") for n in range(description_words)]
                frame = frame.with_columns(pl.concat_str(words, separator=" ").alias("description"))
            yield frame

    described = " description:token" if description_words else ""
    write("item", f"item_id:token title:token genre:token_seq{described}", films())

    def interactions() -> Iterator[pl.DataFrame]:
        for start in range(0, rows, CHUNK):
            number = np.arange(start, min(start + CHUNK, rows))
            ids = [
                # each id once, then by a power law
                np.where(
                    number < total, number, (total * random.random(len(number)) ** STEEPNESS).astype(np.int64)
                )
                for total in (users, items)
            ]
            frame = pl.DataFrame(
                {"u": ids[0], "i": ids[1], "label": random.integers(0, 2, len(number)), "t": number}
            )
            yield frame.with_columns(pl.format("u{}", "u"), pl.format("i{}", "i"))

    write("inter", "user_id:token item_id:token label:float timestamp:float", interactions())


def run(folder: Path, name: str, steps: int, plm_steps: int, rounds: int, settings: dict[str, Any]) -> None:
    """Runs the phases with further settings, and prints a line for each."""
    with _phase("imports"):
        import torch
        import transformers
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import init_seed

        import recbole_clickprompt  # noqa: F401 - registers the models

        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()
        sys.argv = sys.argv[:1]  # RecBole reads it

    base = {**SETTINGS, "data_path": str(folder), **settings}
    for field in settings.get("text_only_fields", []):
        base["text_fields"] = {**base["text_fields"], field: field}

    def config_of(model: str, **others: Any) -> Config:
        return Config(model, name, None, {**base, **others})

    config = config_of("ClickPrompt")
    init_seed(config["seed"], config["reproducibility"])
    with _phase("data set"):
        dataset = create_dataset(config)
    with _phase("split"):
        train_data, _, _ = data_preparation(config, dataset)
    with _phase("token table"):
        table = train_data._dataset.token_table(config["plm"])
    size = sum(buffer.numel() * buffer.element_size() for buffer in table.buffers())
    print(f"|   (size {size / 1e6:.0f} MB) | | | |", flush=True)
    for model_name, number in (("ClickPromptNoPLM", steps), ("ClickPrompt", plm_steps)):
        if not number:
            continue
        batches = _First(train_data, number)
        with _phase(f"{model_name}: build"):
            trainer = build_trainer(config_of(model_name), train_data)
        with _phase(f"{model_name}: first {len(batches)} steps of {config['train_batch_size']} rows"):
            trainer.fit(batches, None, verbose=False, saved=False, show_progress=False)
        del trainer
    if rounds:
        with _phase(f"ClickPromptNoPLM: {rounds} rounds of 1 full and {ROWWISE_STEPS} lazy updates"):
            whole, rowwise = step_seconds(config_of, train_data, rounds)
        medians = f"{1e3 * whole:.1f} ms and {1e3 * rowwise:.1f} ms CPU time"
        print(f"|   (per step: {medians}, ratio {whole / rowwise:.1f}) | | | |", flush=True)


class _First:
    """A loader that stops after its first batches."""

    def __init__(self, loader: AbstractDataLoader, batches: int) -> None:
        self._loader, self._batches = loader, min(batches, len(loader))

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self._loader), self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


@contextmanager
def _phase(name: str) -> Iterator[None]:
    start, worked = time.monotonic(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    took, worked = time.monotonic() - start, time.process_time() - worked
    print(f"| {name} | {took:.1f} s | {worked:.1f} s | {peak / 1e9:.2f} GB |", flush=True)


if __name__ == "__main__":
    main()
