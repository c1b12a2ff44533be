"""Checks the pickle inside a checkpoint opcode by opcode before torch loads it.

torch's safe unpickler calls the functions on its allowlist, and a small crafted file can make these hang or
exhaust memory: by hashing a deeply nested tuple, or allocating a ``bytearray`` or storage of any size. The scan
simulates the pickle machine with the kinds and sizes of values only.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Collection
from typing import Any, NamedTuple

import torch

__all__ = ["scan"]

_MOST_ITEMS = 1_000_000  # in a tuple with all nested tuples; random states have a few hundred
_STORAGE_ITEMS = 6  # size of the tuple that identifies a storage, itself included
_DTYPES = {f"torch {name}" for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_STORAGE = re.compile(r"torch \w+Storage|torch\.storage (Untyped|Typed)Storage")
_ORDERED = "collections OrderedDict"
_SIZE = "torch Size"
_CALLED = {
    _ORDERED, _SIZE, "torch device", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
}  # fmt: skip


class _Item(NamedTuple):
    kind: str  # scalar, tuple, dict, other, or the name of a global
    size: int = 1


_SCALAR, _DICT, _OTHER = _Item("scalar"), _Item("dict"), _Item("other")
_PUSHED = {
    **dict.fromkeys(
        [
            "NONE",
            "NEWTRUE",
            "NEWFALSE",
            "BININT",
            "BININT1",
            "BININT2",
            "BINFLOAT",
            "BINUNICODE",
            "SHORT_BINSTRING",
            "LONG1",
        ],
        _SCALAR,
    ),
    "EMPTY_DICT": _DICT,
    "EMPTY_LIST": _OTHER,
    "EMPTY_TUPLE": _Item("tuple"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def scan(content: bytes, records: Collection[str]) -> None:
    """Checks a pickle.

    Args:
        content: Its bytes.
        records: Classes, as ``module.name``, that are loaded as records and whose arguments are ignored.

    Raises:
        ValueError: It contains an operation that checkpoints do not need, or it is truncated.
    """
    _Scan({" ".join(name.rsplit(".", 1)) for name in records}).run(content)


class _Scan:
    def __init__(self, records: Collection[str]) -> None:
        self._records = records
        self._globals = _CALLED | _DTYPES | set(records)
        self._stack: list[_Item] = []
        self._below: list[list[_Item]] = []  # the stacks below each mark
        self._memo: dict[int, _Item] = {}

    def run(self, content: bytes) -> None:
        try:
            for opcode, argument, _ in pickletools.genops(content):
                self._step(opcode.name, argument)
        except (IndexError, KeyError) as error:
            raise ValueError("its pickle is malformed") from error

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _PUSHED:
            stack.append(_PUSHED[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._below.append(stack)
            self._stack = []
        elif name == "TUPLE":
            items = self._pop_mark()
            self._stack.append(_tuple(items))
        elif name in _TUPLES:
            stack.append(_tuple([stack.pop() for _ in range(_TUPLES[name])]))
        elif name == "APPEND":
            stack.pop()
        elif name == "APPENDS":
            self._pop_mark()
        elif name in ("SETITEM", "SETITEMS"):
            _check_keys([stack.pop(), stack.pop()][::-1] if name == "SETITEM" else self._pop_mark())
        elif name == "GLOBAL":
            if not (argument in self._globals or _STORAGE.fullmatch(argument)):
                raise ValueError(f"Unsupported global: {argument.replace(' ', '.')}")
            stack.append(_Item(argument))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(self._result(called.kind, arguments, name))
        elif name == "BUILD":
            # torch would convert any other state to a dict with keys that the scan does not see
            if stack.pop().kind != "dict":
                raise ValueError("the state of an object in it is not a dict")
        elif name == "BINPERSID":
            if stack.pop() != ("tuple", _STORAGE_ITEMS):
                raise ValueError("a storage in it is not identified as torch does")
            stack.append(_OTHER)
        elif name not in ("PROTO", "STOP"):
            raise ValueError(f"its pickle contains the opcode {name}, which torch never writes")

    def _pop_mark(self) -> list[_Item]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _result(self, called: str, arguments: _Item, step: str) -> _Item:
        if called in self._records:
            return _OTHER
        # Some calls expand a few bytes: a storage of any number of elements, a dict with keys that the scan does
        # not see
        if step != "REDUCE" or called not in _CALLED or (called == _ORDERED and arguments.size > 1):
            raise ValueError(f"it calls {called.replace(' ', '.')}")
        if called == _ORDERED:
            return _DICT
        return arguments if called == _SIZE else _OTHER


def _tuple(items: list[_Item]) -> _Item:
    size = 1 + sum(item.size for item in items)
    if size > _MOST_ITEMS:
        raise ValueError(f"it contains a tuple of more than {_MOST_ITEMS:,} values")
    return _Item("tuple", size)


def _check_keys(items: list[_Item]) -> None:
    # Only hashing a tuple can take longer than reading it: the hash is recomputed wherever the tuple occurs
    if any(key.kind != "scalar" for key in items[::2]):
        raise ValueError("a key of a dict in it is neither a string nor a number")
