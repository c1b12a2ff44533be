"""Reads YAML as plain values: texts, numbers, truth values, lists and mappings of a bounded size."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Collection, Hashable
from typing import Any

import yaml

__all__ = ["load_yaml"]

_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_TIME = "tag:yaml.org,2002:timestamp"
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
_DEEPEST, _MOST_NODES = 50, 100_000


def load_yaml(text: str, *, as_texts: bool = False, text_keys: Collection[str] = ()) -> Any:
    """The value that a YAML document holds.

    YAML 1.1 with these differences: ``1e-3`` is a number, a date is a text, and a mapping that has a key twice, a
    value that contains itself or that repeats others to an enormous size, and types other than those of JSON are
    errors.

    Args:
        text: The document.
        as_texts: Whether to take every scalar for a text.
        text_keys: Keys in whose values every scalar is a text, unless the value is a scalar itself.

    Raises:
        yaml.YAMLError: It is not valid; says where.
    """
    return copy.deepcopy(_parsed(text, as_texts, frozenset(text_keys)))


@functools.lru_cache(maxsize=64)  # a process reads the same few files for each of many runs
def _parsed(text: str, as_texts: bool, text_keys: frozenset[str]) -> Any:
    loader = _Loader(text)
    loader.as_texts, loader.text_keys = as_texts, text_keys
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    as_texts = False
    text_keys: Collection[str] = ()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of composed nodes with all that they contain, by id
        self._texts: list[yaml.Node] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _error(f"it is nested more than {_DEEPEST} deep", self.peek_event().start_mark)
        is_alias = self.check_event(yaml.AliasEvent)
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise _error("a value contains itself", node.start_mark)
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        else:
            parts = node.value if isinstance(node, yaml.SequenceNode) else []
        self._sizes[id(node)] = size = 1 + sum(self._sizes[id(part)] for part in parts)
        if size > _MOST_NODES:
            raise _error(f"it has more than {_MOST_NODES:,} values", node.start_mark)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag == _TIME or self.as_texts:
            node.tag = _TEXT
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be a text or a number", key.start_mark)
            if key.tag != _MERGE and (key.tag, key.value) in names:
                raise _error(f"the key {key.value[:60]!r} is there twice", key.start_mark)
            names.add((key.tag, key.value))
            if key.value in self.text_keys and not isinstance(value, yaml.ScalarNode):
                _read_as_texts(value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _PLAIN:
            raise _error(f"{node.tag[:60]!r} is no type of a setting", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, OverflowError) as error:
            shown = node.value[:60] if isinstance(node, yaml.ScalarNode) else "a value"
            kind = node.tag.rpartition(":")[2]
            raise _error(f"{shown!r} cannot be read as {kind}", node.start_mark) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len({(key.tag, key.value) for key, _ in node.value}):
            raise _error("two keys are equal, written in two ways", node.start_mark)
        return mapping


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


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


def _error(what: str, mark: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, mark)
