"""Files of sharded tables: whole, of this checkpoint, and readable in any parts."""

import json
import shutil

import pytest
import torch
from torch import nn

from recbole_clickprompt.embeddings.files import load_tables, remove_tables, tables_folder, write_tables
from recbole_clickprompt.embeddings.initial_values import Draw
from recbole_clickprompt.embeddings.table import ShardedTable, TrainedRows
from recbole_clickprompt.errors import StorageError, WeightsError
from recbole_clickprompt.trainer import checkpoint as checkpoint_module
from recbole_clickprompt.trainer.checkpoint import write_with_tables

ROWS, WIDTH = 120, 3
FULL = torch.arange(ROWS * WIDTH, dtype=torch.float32).view(ROWS, WIDTH)


def model_of(rows=None):
    """A model with one table, of which a process trains some rows, or none."""
    model = nn.Module()
    model.table = ShardedTable(Draw((ROWS, WIDTH), "normal_", (0.0, 1.0), torch.get_rng_state()))
    if rows is not None:
        own = TrainedRows()
        own.begin, own.weight, own.sums = rows.start, FULL[rows].clone(), FULL[rows].sum(1)
        model.table.rows = own
    return model.eval()


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "model.pth"


@pytest.fixture
def manifest(checkpoint):
    """Two processes have written rows 0 to 69 and 70 to 119."""
    return {
        **write_tables(checkpoint, model_of(slice(0, 70))),
        **write_tables(checkpoint, model_of(slice(70, ROWS))),
    }


def test_a_process_without_rows_reads_them_from_the_files(checkpoint, manifest):
    model = model_of()
    load_tables(model, manifest, checkpoint)
    ids = torch.tensor([[0, 69, 70], [119, 3, 0]])
    assert torch.equal(model.table(ids), FULL[ids])


def test_a_process_that_trains_other_rows_takes_them_from_both_files(checkpoint, manifest):
    model = model_of(slice(60, 90))
    model.table.local.weight.zero_()
    model.table.local.sums.zero_()
    load_tables(model, manifest, checkpoint)
    assert torch.equal(model.table.local.weight, FULL[60:90])
    assert torch.equal(model.table.local.sums, FULL[60:90].sum(1))


def test_files_of_earlier_versions_are_removed_and_the_current_ones_kept(checkpoint, manifest):
    old = write_tables(checkpoint, model_of(slice(0, ROWS)))
    remove_tables(checkpoint, keep=manifest)
    assert {file.name for file in tables_folder(checkpoint).iterdir()} == set(manifest) != set(old)
    remove_tables(checkpoint)
    assert not tables_folder(checkpoint).exists()


def test_a_model_without_sharded_tables_writes_nothing(checkpoint):
    assert write_tables(checkpoint, nn.Linear(2, 2)) == {}
    assert not tables_folder(checkpoint).exists()


def lose(folder, manifest):
    (folder / next(iter(manifest))).unlink()


def flip(folder, manifest):
    file = folder / next(iter(manifest))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def mix(folder, manifest):
    first, second = manifest
    shutil.copy(folder / first, folder / second)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose, "no such file; a checkpoint with"),
        (flip, "its checksum does not match"),
        (mix, "another checkpoint"),
    ],
)
def test_damaged_files_are_refused(checkpoint, manifest, damage, message):
    damage(tables_folder(checkpoint), manifest)
    with pytest.raises(WeightsError, match=message):
        load_tables(model_of(), manifest, checkpoint)


def test_a_file_of_another_version_with_the_same_rows_is_refused(checkpoint):
    first, other = (write_tables(checkpoint, model_of(slice(0, ROWS))) for _ in range(2))
    folder = tables_folder(checkpoint)
    assert list(first.values()) == list(other.values())
    shutil.copy(folder / next(iter(other)), folder / next(iter(first)))
    with pytest.raises(WeightsError, match="belongs to another checkpoint; restore it from a copy"):
        load_tables(model_of(), first, checkpoint)


def test_tables_of_a_checkpoint_that_cannot_be_written_are_removed(checkpoint, monkeypatch):
    def fail(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(checkpoint_module, "write_checkpoint", fail)
    model = model_of(slice(0, ROWS))
    with pytest.raises(StorageError, match="the disk is full"):
        write_with_tables(checkpoint, {}, model)
    assert not tables_folder(checkpoint).exists()
    before = write_tables(checkpoint, model)
    with pytest.raises(StorageError, match="the disk is full"):
        write_with_tables(checkpoint, {}, model)
    assert {file.name for file in tables_folder(checkpoint).iterdir()} == set(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: None, "lacks the sharded table table"),
        (lambda files: dict([*files.items()][1:]), "each of the 120 rows of table once"),
        (lambda files: {**files, "x": {"other": [0, 1]}}, "other is no sharded table of it"),
        (
            lambda files: {f"../{name}": rows for name, rows in files.items()},
            "list of table files is not as written",
        ),
        (lambda files: {name: {"table": [5, 1]} for name in files}, "list of table files is not as written"),
        (lambda files: [json.dumps(files)], "list of table files is not as written"),
    ],
)
def test_lists_of_files_that_do_not_fit_are_refused(checkpoint, manifest, change, message):
    with pytest.raises(WeightsError, match=message):
        load_tables(model_of(), change(manifest), checkpoint)


def test_tables_of_another_width_are_refused(checkpoint, manifest):
    model = model_of()
    model.table.embedding_dim = WIDTH + 1
    with pytest.raises(WeightsError, match=r"table.weight must be float32 of shape \(70, 4\)"):
        load_tables(model, manifest, checkpoint)
