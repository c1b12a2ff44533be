"""``enable_amp: auto``, and the warning where bf16 is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from recbole.config import Config

from recbole_clickprompt.errors import SettingError
from recbole_clickprompt.host import precision


@pytest.mark.parametrize(
    ("instructions", "avx512", "amx", "faster"),
    [
        (True, True, True, True),
        (True, True, False, False),
        (True, False, False, True),
        (False, True, False, False),
    ],
)
def test_auto_means_bf16_where_the_processor_is_faster_with_it(
    instructions: bool,
    avx512: bool,
    amx: bool,
    faster: bool,
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    monkeypatch.setattr(precision, "_has_instructions", lambda device: instructions)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert make_config(enable_amp="auto")["enable_amp"] is faster
    assert "bf16" not in caplog.text


@pytest.mark.parametrize(("supported", "enabled"), [(True, True), (False, False), (False, True)])
def test_slow_bf16_is_used_with_a_warning(
    supported: bool,
    enabled: bool,
    make_config: Callable[..., Config],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    monkeypatch.setattr(precision, "_has_instructions", lambda device: supported)
    assert make_config(enable_amp=enabled)["enable_amp"] is enabled
    assert ("has no instructions" in caplog.text) == (enabled and not supported)


def test_other_words_are_refused(make_config: Callable[..., Config]) -> None:
    with pytest.raises(SettingError, match="enable_amp must be True, False or auto, got 'bf16'"):
        make_config(enable_amp="bf16")


def test_the_processor_is_asked() -> None:
    assert precision._has_instructions(torch.device("cpu")) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
