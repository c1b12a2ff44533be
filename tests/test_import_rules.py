"""Imports go one way: methods import the trainer and never the other way, evaluation reads tables alone."""

import ast
import functools
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "recbole_clickprompt"
# Lowest first; those of one line do not import one another, unless a line below says so
LAYERS = (
    {"errors"},
    {"files", "distributed", "settings"},
    {"data", "evaluation", "tensor_cache"},
    {"text", "embeddings"},
    {"backbones", "plm", "preprocessing"},
    {"trainer", "knowledge"},
    {"methods"},
    {"host"},
    {"serving"},
    {"tuning"},
    {"commands"},
    {"__init__", "__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# What a folder may import of its own level or of a small set alone
SIDEWAYS = {("files", "errors"), ("plm", "backbones"), ("distributed", "errors")}
METHODS = [
    "ClickPrompt", "ClickPromptNoPLM", "PTab", "MSD", "CTRBERT", "CTRL", "FLIP", "P5", "KAR", "QARMLike", "LLaCTR",
    "SuKDLike", "NumBERTLike", "BERT4CTRLike", "CharMatchLike", "PRINTRepaired",
]  # fmt: skip
EVALUATION = {"errors", "files", "settings", "evaluation"}


@functools.cache
def trees():
    return {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports():
    for path, tree in trees().items():
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
                if node.module == "recbole_clickprompt":
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                top, _, rest = name.partition(".")
                if top == "recbole_clickprompt" and rest and rest != "__version__":
                    yield path.relative_to(PACKAGE), own, rest.split(".")[0]


def test_every_folder_has_its_place():
    folders = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert folders - {"props"} == set(LEVEL)


def test_imports_go_one_way():
    wrong = [
        f"{path} imports {other}"
        for path, own, other in imports()
        if own != other and (own, other) not in SIDEWAYS and LEVEL[other] >= LEVEL[own]
    ]
    assert wrong == []


def test_evaluation_reads_tables_alone():
    wrong = [
        f"{path} imports {other}"
        for path, own, other in imports()
        if own == "evaluation" and other not in EVALUATION
    ]
    assert wrong == []


@functools.cache
def texts_outside_methods():
    """Place and value of each text in code outside ``methods/``, but for docstrings."""
    found = []
    for path, tree in trees().items():
        if path.relative_to(PACKAGE).parts[0] == "methods":
            continue
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
        }
        found += [
            (f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
        ]
    return found


@pytest.mark.parametrize("name", METHODS)
def test_no_method_is_named_in_code_outside_methods(name):
    assert [place for place, value in texts_outside_methods() if value == name] == []
