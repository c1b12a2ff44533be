"""Reads YAML as plain values: property, grid and tuning files, and values on the command line.

A short YAML text can describe a value of any size or depth, and PyYAML keeps the last of two equal keys. Such
texts are rejected here, before the value is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from recbole_clickprompt.errors import SettingError

__all__ = ["TEXT_SETTINGS", "parse_yaml", "read_yaml"]

# Settings whose keys and values are strings in the data: YAML would read NO as False and 007 as 7
TEXT_SETTINGS = ("value_labels", "value_words")  # the second is the old name of the first
_TEXT = "tag:yaml.org,2002:str"
_MAX_DEPTH = 50  # lists and mappings inside one another
_MAX_NODES = 1_000_000  # scalars, lists and mappings, with aliases expanded


class _PlainLoader(yaml.SafeLoader):
    """Rejects repeated keys, references of a value to itself, and values that are too deep or too large."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _check_size(node, {}, 0)
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value[:60]!r} occurs twice"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node


class _Loader(_PlainLoader):
    """YAML 1.1, except that ``1e-3`` is a number, and that codes in ``TEXT_SETTINGS`` stay strings."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        for key, value in node.value:
            # A scalar is an invalid value, which is reported later; a list contains several values to try
            if key.value in TEXT_SETTINGS and not isinstance(value, yaml.ScalarNode):
                _check_size(value, {}, 0)
                _read_as_texts(value)
        return node


class _TextLoader(_PlainLoader):
    """Reads every scalar as a string."""

    def compose_scalar_node(self, anchor: dict[Any, yaml.Node]) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        node.tag = _TEXT
        return node


def _check_size(node: yaml.Node, sizes: dict[int, int | None], depth: int) -> int:
    """Counts the nodes of a value, with aliases expanded; ``sizes`` has the known counts, None while counting."""
    problem = ""
    if depth > _MAX_DEPTH:
        problem = f"lists and mappings are nested more than {_MAX_DEPTH} deep"
    elif id(node) in sizes and sizes[id(node)] is None:
        problem = "the value contains itself"
    if problem:
        raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
    known = sizes.get(id(node))
    if known is not None:
        return known
    sizes[id(node)] = None
    parts = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    size = 1 + sum(_check_size(part, sizes, depth + 1) for part in parts)
    if size > _MAX_NODES:
        problem = f"with its aliases expanded, it has more than {_MAX_NODES:,} values"
        raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
    sizes[id(node)] = size
    return size


def _read_as_texts(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        node.tag = _TEXT
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            _read_as_texts(key)
            _read_as_texts(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _read_as_texts(value)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str, setting: str = "") -> Any:
    """Parses a YAML value.

    Args:
        text: The value.
        setting: The name of its setting; in ``value_labels`` all scalars are strings.

    Raises:
        yaml.YAMLError: It is not valid: it has a tag other than those of plain data, an impossible date or number,
            or a repeated key, contains itself, or is nested too deeply or too large.
    """
    try:
        return yaml.load(text, Loader=_TextLoader if setting in TEXT_SETTINGS else _Loader)
    except RecursionError as error:
        raise yaml.YAMLError(f"lists and mappings are nested more than {_MAX_DEPTH} deep") from error
    except (ValueError, TypeError, KeyError, OverflowError) as error:  # PyYAML builds dates and numbers unchecked
        if isinstance(error, UnicodeError):
            raise
        reason = str(error).partition(";")[0] or type(error).__name__
        raise yaml.YAMLError(f"it contains an impossible date or number: {reason}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads the mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        SettingError: The file cannot be read, or is not YAML or not a mapping; names the file and, if known, the
            line.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(content, dict | None):
        raise SettingError(f"{path} must contain `key: value` lines, got {type(content).__name__}")
    return content or {}
