"""RecBole's own property files are parsed once, and each ``Config`` has its own values."""

from recbole.config import Config

from tests.conftest import ROOT


def test_a_config_does_not_see_what_another_one_changed(monkeypatch):
    settings = {"model": "FM", "dataset": "ml-100k", "gpu_id": "", "data_path": str(ROOT / "dataset_atomic")}
    first = Config(config_dict=dict(settings))
    expected = dict(first.internal_config_dict["eval_args"])
    first.internal_config_dict["eval_args"]["order"] = "changed"
    monkeypatch.setattr("yaml.load", lambda *_, **__: {})  # RecBole's own reader
    second = Config(config_dict=dict(settings))
    assert second.internal_config_dict["eval_args"] == expected
    assert second.internal_config_dict["epochs"] == first.internal_config_dict["epochs"] == 300
