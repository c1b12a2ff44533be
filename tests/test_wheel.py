"""The built wheel, installed alone, runs from another folder."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("a wheel is built without a network by hatchling, which is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(folder))
    (built,) = folder.glob("*.whl")
    return built


def run(*command, cwd=None):
    # Nothing of this checkout may be found but by being installed
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    if "PYTHONPATH" in os.environ:
        kept = [path for path in os.environ["PYTHONPATH"].split(os.pathsep) if Path(path).resolve() != ROOT]
        environment |= {"PYTHONPATH": os.pathsep.join(kept)} if kept else {}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder of programs of an environment that has the wheel, and what it needs from the one that runs this."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "needs.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    return folder / "bin"


def test_the_wheel_holds_the_package_and_its_property_files_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("recbole_clickprompt/props/") for name in names if "/props/" in name}
    files = [*(ROOT / "props").rglob("*.yaml"), *(ROOT / "props" / "knowledge").glob("*.jsonl")]
    assert shipped == {str(file.relative_to(ROOT / "props")) for file in files}
    assert all(name.startswith("recbole_clickprompt") for name in names)
    code = {name for name in names if name.endswith(".py")}
    assert code == {str(file.relative_to(ROOT)) for file in (ROOT / "recbole_clickprompt").rglob("*.py")}


@pytest.mark.slow
def test_an_installed_wheel_runs_from_another_folder(installed, tiny_bert, tmp_path):
    find = "import importlib.util as u; print(u.find_spec('recbole_clickprompt').origin)"
    where = run(str(installed / "python"), "-c", find, cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
    flags = [f"--data_path={ROOT / 'dataset_atomic'}", f"--plm={tiny_bert}", "--gpu_id=", "--show_progress=False"]
    sentence = run(str(installed / "recbole-cp"), "show", "-d", "tiny", "--rows=1", *flags, cwd=tmp_path)
    assert "user ID is u" in sentence
    assert ". film ID is i" in sentence
    flags += [
        "--epochs=1",
        "--pretrain_epochs=1",
        "--pretrain_batch_size=256",
        "--plm_num_layers=1",
        "--backbone=DNN",
    ]
    run(str(installed / "recbole-cp"), "run", "-m", "ClickPrompt", "-d", "tiny", *flags, cwd=tmp_path)
    assert len(list((tmp_path / "saved").glob("ClickPrompt-*.pth"))) == 1
    assert len(list((tmp_path / "saved").glob("tiny-DNN-pretrained-*.safetensors"))) == 1
