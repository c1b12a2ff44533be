"""A data set that RecBole downloads: whole, or not at all."""

import zipfile

import pytest
import recbole.data.dataset.dataset as recbole_dataset
import torch
from recbole.data.utils import create_dataset

from recbole_clickprompt.errors import DataError
from recbole_clickprompt.host.dataset_files import obtain

INTER = "user_id:token\titem_id:token\nu1\ti1\nu2\ti2\n"


def test_a_download_that_fails_half_way_is_told_and_leaves_nothing(tmp_path):
    folder = tmp_path / "shop"

    def download():
        folder.mkdir()
        (folder / "shop.inter").write_text(INTER)
        raise zipfile.BadZipFile("Bad CRC-32 for file 'shop.item'")

    with pytest.raises(DataError, match=r"RecBole cannot download shop \(Bad CRC-32 for file 'shop.item'\); put"):
        obtain("shop", folder, download)
    assert not folder.exists()


def test_a_download_that_waits_for_ranks_of_recboles_own_goes_on_alone(tmp_path):
    folder = tmp_path / "shop"

    def download():
        folder.mkdir()
        (folder / "shop.inter").write_text(INTER)
        torch.distributed.barrier()

    obtain("shop", folder, download)
    assert (folder / "shop.inter").read_text() == INTER


@pytest.mark.parametrize("whole", [True, False])
def test_an_archive_of_recboles_is_downloaded_and_read_or_refused(make_config, tmp_path, monkeypatch, whole):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("archive.inter", INTER)
    if not whole:
        archive.write_bytes(archive.read_bytes()[:-30])
    config = make_config(
        dataset="shop",
        data_path=str(tmp_path),
        load_col={"inter": ["user_id", "item_id"]},
        text_fields={"user_id": "user"},
        threshold=None,
        eval_args={"mode": "labeled", "order": "RO"},
    )
    of_recbole = "recbole.data.dataset.dataset.Dataset._get_download_url"
    monkeypatch.setattr(of_recbole, lambda *_, **__: archive.as_uri())
    if whole:
        assert len(create_dataset(config)) == 2
    else:
        with pytest.raises(DataError, match="RecBole cannot download shop"):
            create_dataset(config)
        assert not (tmp_path / "shop").exists()


def a_bomb(archive):
    archive.writestr("shop.inter", bytes(1 << 26))


def a_path_that_leads_outside(archive):
    archive.writestr("../outside.inter", INTER)


def an_unknown_method(archive):
    archive.writestr("shop.inter", INTER)
    archive.filelist[0].compress_type = 99


def an_encrypted_file(archive):
    archive.writestr("shop.inter", INTER)
    archive.filelist[0].flag_bits |= 1


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (a_bomb, "over 200 times as many"),
        (a_path_that_leads_outside, "leads outside the archive"),
        (an_unknown_method, "'shop.inter' cannot be read: .*compression method"),
        (an_encrypted_file, "'shop.inter' cannot be read: .*encrypted"),
    ],
)
def test_an_archive_that_is_no_data_is_told_and_leaves_nothing(tmp_path, fill, message):
    source, folder = tmp_path / "shop.zip", tmp_path / "data" / "shop"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)

    def download():
        recbole_dataset.makedirs(str(folder))
        recbole_dataset.extract_zip(recbole_dataset.download_url(source.as_uri(), str(folder)), str(folder))

    with pytest.raises(DataError, match=f"RecBole cannot download shop .*{message}"):
        obtain("shop", folder, download)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "shop.zip"]


def test_a_download_that_is_interrupted_leaves_nothing(tmp_path):
    folder = tmp_path / "shop"

    def download():
        folder.mkdir()
        (folder / "shop.inter").write_text(INTER[:30])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain("shop", folder, download)
    assert not folder.exists()
