"""``recbole-cp prepare``, and a run that asks for a data set that is not there."""

import dataclasses
import hashlib
import zipfile
from pathlib import Path

import pytest
from recbole.data import create_dataset
from recbole.data.dataset import Dataset

from recbole_clickprompt.__main__ import main
from recbole_clickprompt.data.convert.catalog import RECIPES
from recbole_clickprompt.data.convert.download import RemoteFile
from recbole_clickprompt.errors import DataError
from tests.server import serve_folder

from ..data.convert.lookalike import ml_1m

TINY = Path(__file__).parents[2] / "dataset_atomic" / "tiny"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A server on this machine that offers a made-up ``ml-1m.zip`` in GroupLens' place."""
    folder = tmp_path / "server"
    folder.mkdir()
    path = ml_1m(folder / "ml-1m.zip")
    with serve_folder(folder) as server:
        file = RemoteFile(f"{server.url}/ml-1m.zip", hashlib.md5(path.read_bytes()).hexdigest())
        counts = dataclasses.replace(RECIPES["ml-1m"].published, raw_rows=1200)
        monkeypatch.setitem(
            RECIPES, "ml-1m", dataclasses.replace(RECIPES["ml-1m"], files=(file,), published=counts)
        )
        yield path


@pytest.fixture
def offline(monkeypatch):
    """Every address is one where nothing answers."""
    for name, recipe in RECIPES.items():
        files = tuple(RemoteFile(f"http://127.0.0.1:1/{file.name}", file.md5) for file in recipe.files)
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, files=files))


def error_of(capsys):
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_prepare_prints_counts_beside_the_published_ones_and_why_they_differ(tmp_path, capsys):
    assert main(["prepare", "ml-1m", "--raw", str(ml_1m(tmp_path / "ml-1m.zip")), "--out", "here"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("here/ml-1m is ready:\n")
    assert "  raw rows            1,200    1,000,209  -999,009\n" in out
    assert "note: the raw rows differ, so these are not the publisher's complete files" in out
    assert "license: research use, no redistribution" in out
    assert (Path("here") / "ml-1m" / "ml-1m.train.inter").is_file()


def test_prepare_downloads_what_it_is_not_given(published, capsys):
    assert main(["prepare", "ml-1m"]) == 0
    assert "raw rows            1,200        1,200  equal" in capsys.readouterr().out
    assert sorted(p.name for p in Path("dataset_atomic").iterdir()) == [".downloads", "ml-1m"]


def test_a_download_with_other_rows_than_published_is_refused(published, monkeypatch, capsys):
    wrong = dataclasses.replace(RECIPES["ml-1m"].published, raw_rows=7)
    monkeypatch.setitem(RECIPES, "ml-1m", dataclasses.replace(RECIPES["ml-1m"], published=wrong))
    assert main(["prepare", "ml-1m"]) == 2
    assert "holds 1200 rows where 7 are expected" in error_of(capsys)
    assert not Path("dataset_atomic/ml-1m").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_without_a_network_one_line_says_what_to_fetch_and_to_run(offline, name, capsys):
    assert main(["prepare", name]) == 2
    error = error_of(capsys)
    assert RECIPES[name].consent or f"cannot download {RECIPES[name].files[0].url}" in error
    assert f"then run `recbole-cp prepare {name} --raw {RECIPES[name].files[0].name}`" in error
    assert all(file.url in error for file in RECIPES[name].files)
    assert not Path(f"dataset_atomic/{name}").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ml-1b"], "'ml-1b' cannot be prepared; did you mean ml-1m?"),
        (["ml-1m", "--raw", "nowhere.zip"], "there is no file or folder nowhere.zip"),
        (["ml-1m", "--epochs=3"], "unrecognized argument --epochs=3"),
        (["ml-1m", "--raw", "text.zip"], "text.zip is cut off or damaged"),
        (["goodreads", "--raw", "text.zip.d"], "text.zip.d holds no goodreads_books.json; it holds nothing"),
    ],
)
def test_what_cannot_be_prepared_is_told_in_one_line(arguments, message, capsys):
    Path("text.zip").write_text("no archive")
    Path("text.zip.d").mkdir()
    assert main(["prepare", *arguments]) == 2
    assert message in error_of(capsys)
    assert not list(Path("dataset_atomic").iterdir()) if Path("dataset_atomic").exists() else True


def test_a_prepared_folder_is_never_replaced(tmp_path, capsys):
    arguments = ["prepare", "ml-1m", "--raw", str(ml_1m(tmp_path / "ml-1m.zip"))]
    assert main(arguments) == 0
    before = Path("dataset_atomic/ml-1m/ml-1m.inter").stat().st_mtime_ns
    assert main(arguments) == 2
    assert "dataset_atomic/ml-1m is there already; remove it" in error_of(capsys)
    assert Path("dataset_atomic/ml-1m/ml-1m.inter").stat().st_mtime_ns == before


def test_a_run_prepares_the_small_data_set_that_it_asks_for(published, make_config, tmp_path):
    dataset = create_dataset(make_config(dataset="ml-1m", data_path=str(tmp_path / "data")))
    assert dataset.file_size_list == [len(part) for part in dataset.build()]
    assert (tmp_path / "data" / "ml-1m" / "ml-1m.train.inter").is_file()


def test_a_run_without_data_and_network_says_what_to_do(offline, make_config, tmp_path):
    config = make_config(dataset="ml-1m", data_path=str(tmp_path / "data"))
    with pytest.raises(DataError) as caught:
        create_dataset(config)
    message = str(caught.value)
    assert (
        f"{tmp_path}/data/ml-1m does not exist, and preparing it failed: cannot download http://127.0.0.1:1/ml-1m.zip"
        in message
    )
    assert f"then run `recbole-cp prepare ml-1m --raw ml-1m.zip --out {tmp_path}/data`" in message


def test_a_run_never_downloads_gigabytes_by_itself(published, make_config, tmp_path):
    config = make_config(dataset="goodreads", data_path=str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"goodreads does not exist; fetch .* put all into one folder, then run"):
        create_dataset(config)


def test_an_incomplete_folder_is_told_with_what_it_holds(make_config, tmp_path):
    folder = tmp_path / "data" / "ml-1m"
    folder.mkdir(parents=True)
    (folder / "ml-1m.train.inter").write_text("user_id:token\titem_id:token\n")
    config = make_config(dataset="ml-1m", data_path=str(tmp_path / "data"))
    with pytest.raises(DataError, match=r"ml-1m.valid.inter does not exist; .* contains ml-1m.train.inter"):
        create_dataset(config)


@pytest.mark.parametrize("inside", ["anime", "tiny"])
def test_recboles_own_download_no_longer_crashes_after_it_is_done(make_config, tmp_path, monkeypatch, inside):
    archive = tmp_path / f"{inside}.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in TINY.glob("tiny.*"):
            made.write(file, file.name.replace("tiny", inside))
    monkeypatch.setattr(Dataset, "_get_download_url", lambda self, *_: archive.as_uri())
    settings = {"TIME_FIELD": "timestamp", "text_fields": {"title": "title"}, "whole_text_fields": ["title"]}
    config = make_config(dataset="anime", data_path=str(tmp_path / "data"), load_col=None, **settings)
    dataset = create_dataset(config)
    assert dataset.inter_num == len((TINY / "tiny.inter").read_text().splitlines()) - 1


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_download_of_recboles_that_fails_leaves_no_folder(make_config, tmp_path, monkeypatch, content):
    (tmp_path / "anime.zip").write_bytes(content)
    monkeypatch.setattr(Dataset, "_get_download_url", lambda self, *_: (tmp_path / "anime.zip").as_uri())
    config = make_config(dataset="anime", data_path=str(tmp_path / "data"), text_fields={"user_id": "user"})
    with pytest.raises(DataError, match="RecBole cannot download anime .*not a zip file"):
        create_dataset(config)
    assert not (tmp_path / "data" / "anime").exists()


def test_a_download_that_proves_damaged_is_removed_so_that_it_is_fetched_again(published, monkeypatch, capsys):
    whole, recipe = published.read_bytes(), RECIPES["ml-1m"]
    files = (dataclasses.replace(recipe.files[0], md5=None),)
    monkeypatch.setitem(RECIPES, "ml-1m", dataclasses.replace(recipe, files=files))
    published.write_bytes(whole[: len(whole) // 2])
    assert main(["prepare", "ml-1m"]) == 2
    assert "ml-1m.zip is cut off or damaged" in error_of(capsys)
    assert not [path for path in Path("dataset_atomic").rglob("*") if path.is_file()]
    published.write_bytes(whole)
    assert main(["prepare", "ml-1m"]) == 0


def test_a_download_that_is_refused_leaves_no_folder(published, capsys):
    published.write_text("<!doctype html><html>Please log in</html>")
    assert main(["prepare", "ml-1m"]) == 2
    assert "is a web page; it has been removed" in error_of(capsys)
    assert not Path("dataset_atomic").exists()
