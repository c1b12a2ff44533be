"""A published model is found by folder or by its id on the Hugging Face hub, here in a cache and offline."""

import hashlib
import os
from pathlib import Path

import huggingface_hub
import numpy as np
import pandas as pd
import pytest

import recbole_clickprompt
from recbole_clickprompt.errors import WeightsError
from recbole_clickprompt.serving import from_pretrained, load_model
from recbole_clickprompt.serving.publish import publish

ROWS = pd.DataFrame({"user_id": ["u1", "new"], "item_id": ["i1", "i2"], "device": "phone"})
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of the hub's cache of this test."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(folder, cache, repository):
    """Puts a folder into the cache as a download would: links into ``blobs/``."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    (root / "blobs").mkdir()
    for file in folder.rglob("*"):
        if file.is_file():
            blob = root / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            blob.write_bytes(file.read_bytes())
            link = root / "snapshots" / COMMIT / file.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))


def test_an_id_is_read_from_the_cache_without_a_network(cache, method_run, tmp_path):
    publish(method_run("ClickPrompt"), tmp_path / "published")
    put(tmp_path / "published", cache, "someone/clicks")
    expected = load_model(method_run("ClickPrompt")).predict(ROWS)
    for revision in (None, COMMIT, "main"):
        np.testing.assert_allclose(from_pretrained("someone/clicks", revision=revision).predict(ROWS), expected)
    np.testing.assert_allclose(from_pretrained(tmp_path / "published").predict(ROWS), expected)
    assert recbole_clickprompt.from_pretrained is from_pretrained


@pytest.mark.parametrize("name", ["someone/unknown", "no such name", "a--b"])
def test_an_id_that_cannot_be_had_is_one_line(cache, name):
    with pytest.raises(
        WeightsError, match=f"'{name}' is no folder, and it cannot be downloaded .*hf download"
    ) as found:
        from_pretrained(name)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["./none", "/no/such/folder", "~/none", "a/b/c"])
def test_a_path_is_not_looked_for_on_the_hub(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", None)
    with pytest.raises(WeightsError, match="there is no folder"):
        from_pretrained(name)


def test_other_folders_and_repositories_are_refused(cache, method_run, tiny_bert):
    with pytest.raises(WeightsError, match="is not a published model; recbole-cp publish makes one of a run"):
        from_pretrained(method_run("ClickPrompt").with_suffix(""))
    Path("other").mkdir()
    (Path("other") / "README.md").write_text("nothing")
    put(Path("other"), cache, "someone/other")
    with pytest.raises(WeightsError, match="someone/other is not a published model"):
        from_pretrained("someone/other")
    with pytest.raises(
        recbole_clickprompt.errors.DataError, match="config.json does not name recbole-clickprompt"
    ):
        from_pretrained(tiny_bert)
