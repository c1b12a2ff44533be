"""A small student, and models with it on the data set ``tiny``."""

import pytest
from recbole.config import Config
from recbole.utils import get_model, init_seed

from tests.conftest import made_once
from tests.methods.msd.students import SETTINGS, save_student


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    """The folder of a random Llama of three layers that reads the words of ``tiny``."""
    return made_once(tmp_path_factory, "student", lambda folder: save_student(folder))


@pytest.fixture(scope="session")
def msd_config(student):
    """A config of MSD on ``tiny``; keyword arguments are settings."""

    def make(**settings):
        dataset = settings.pop("dataset", "tiny")
        return Config("MSD", dataset, None, {**SETTINGS, "student": str(student), **settings})

    return make


@pytest.fixture
def build(msd_config, make_data):
    """A model with begun training, and the three parts of its data set."""

    def make(**settings):
        config = msd_config(**settings)
        parts = [loader._dataset for loader in make_data(config)]
        init_seed(config["seed"], config["reproducibility"])
        model = get_model("MSD")(config, parts[0])
        model.begin(parts[0])
        return model, parts

    return make
