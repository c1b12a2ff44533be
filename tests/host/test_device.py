"""RecBole would override the setting ``device`` silently."""

import pytest
import torch

from recbole_clickprompt.errors import SettingError


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_used_is_an_error(make_config):
    with pytest.raises(SettingError, match="device is 'cuda', but this run uses cpu, as there is no GPU"):
        make_config(device="cuda")


def test_the_device_that_is_used_may_be_named(make_config):
    assert make_config(device="cpu")["device"] == torch.device("cpu")
