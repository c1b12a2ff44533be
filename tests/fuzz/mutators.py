"""Mutations of bytes, of lines and cells of a table, and of one node of a parsed document."""

from __future__ import annotations

import copy
import math
from random import Random
from typing import Any

ODD_TEXTS = [
    "", " ", "NaN", "inf", "-inf", "1e309", "-1e309", "1e-400", "-0", "-1", "0", "1", "2", "0.5", "1" * 400,
    "0x10",
    "None", "null", "NA", "True", "yes", "2020-02-30", "31.02.2020", "99999999999999999999", "1,5", "1_000", "1.0",
    "x" * 300, "é", "e\u0301", "\u202e\u200b", "\ud7ff", '"', '""', "'", '"a',
    'a"b', "a\tb", "a,b", "=1+1", "../x",
    "[PAD]", "٣", "😀", "{}", "[1]", "1e400", "1e38", "9007199254740993", "#", ":", "\\", "%s", "{0}",
]  # fmt: skip
ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 1 << 31, 1 << 63, -(1 << 63), 10**30, 10**400, 0.0, 0.5, -0.5, 1e308,
    1e-320,
    math.nan, math.inf, -math.inf, "", " ", "x", "x" * 300, "NaN", "1", "None", "../..", "\0", "é😀", "a/b",
    [], {}, [[]], [None], [1, 2, 3], ["a", "a"], {"a": None}, {"a": {"a": {"a": 1}}}, {1: 2}, [{}],
]  # fmt: skip


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def mutate_bytes(data: bytes, rng: Random) -> tuple[bytes, str]:
    """One or several changed bytes, and what was done."""
    size = len(data)
    at = rng.randrange(size) if size else 0
    kind = rng.choice(
        [
            "flip",
            "flip",
            "flips",
            "truncate",
            "empty",
            "remove",
            "repeat",
            "zeros",
            "random",
            "append",
            "insert",
            "bom",
        ]
    )
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if size else b"\0", kind
    if kind == "flips":
        changed = bytearray(data)
        for _ in range(min(size, 20)):
            changed[rng.randrange(size)] = rng.randrange(256)
        return bytes(changed), kind
    end = min(size, at + rng.choice([1, 4, 16, 256]))
    parts = {
        "truncate": data[:at],
        "empty": b"",
        "remove": data[:at] + data[end:],
        "repeat": data[:end] + data[at:],
        "zeros": data[:at] + bytes(end - at) + data[end:],
        "random": data[:at] + rng.randbytes(end - at) + data[end:],
        "append": data + rng.choice([b"\0", b"\n\n", b"\xff", b"x", data[:64]]),
        "insert": data[:at] + rng.choice([b"\0", b"\xff", b"\r", b"\n", b'"', b"\t", b",", b"\xc3"]) + data[at:],
        "bom": b"\xef\xbb\xbf" + data,
    }
    return parts[kind], f"{kind} at byte {at}"


def mutate_lines(text: str, separator: str, rng: Random) -> tuple[str, str]:
    """A changed table of lines and cells, and what was done."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    kind = rng.choice(
        ["cell"] * 6
        + ["cells", "remove line", "repeat line", "swap lines", "remove cell", "add cell", "swap cells", "header",
           "swap columns", "remove column", "repeat column", "crlf", "separator", "one separator", "blank line",
           "join lines", "only header", "utf-16"]
    )  # fmt: skip
    rows = [line.split(separator) for line in lines]
    cell = rng.randrange(len(rows[at]))
    if kind == "cell":
        rows[at][cell] = odd = _odd_text(rng)
        return _joined(rows, separator), f"line {at + 1}, cell {cell + 1}: {odd[:40]!r}"
    if kind == "cells":
        odd = _odd_text(rng)
        for row in rows[1:]:
            row[min(cell, len(row) - 1)] = odd
        return _joined(rows, separator), f"column {cell + 1}: {odd[:40]!r}"
    if kind == "header":
        rows[0][rng.randrange(len(rows[0]))] = odd = _odd_text(rng)
        return _joined(rows, separator), f"header: {odd[:40]!r}"
    if kind in ("swap columns", "remove column", "repeat column"):
        a, b = rng.randrange(len(rows[0])), rng.randrange(len(rows[0]))
        for row in rows if rng.random() < 0.5 else rows[:1]:
            if max(a, b) < len(row):
                if kind == "swap columns":
                    row[a], row[b] = row[b], row[a]
                elif kind == "remove column":
                    del row[a]
                else:
                    row.append(row[a])
        return _joined(rows, separator), f"{kind} {a + 1}, {b + 1}"
    other = rng.randrange(len(lines))
    swapped = list(lines)
    swapped[at], swapped[other] = lines[other], lines[at]
    row = rows[at]
    second = rng.randrange(len(row))
    exchanged = list(row)
    exchanged[cell], exchanged[second] = row[second], row[cell]
    new = rng.choice([",", ";", "\t", " ", "|", ":"])
    changed = {
        "remove line": lines[:at] + lines[at + 1 :],
        "repeat line": [*lines[: at + 1], *lines[at:]],
        "swap lines": swapped,
        "remove cell": [*lines[:at], separator.join(row[:cell] + row[cell + 1 :]), *lines[at + 1 :]],
        "add cell": [*lines[:at], separator.join([*row, _odd_text(rng)]), *lines[at + 1 :]],
        "swap cells": [*lines[:at], separator.join(exchanged), *lines[at + 1 :]],
        "crlf": [f"{line}\r" for line in lines[:-1]] + lines[-1:],
        "separator": [line.replace(separator, new) for line in lines],
        "one separator": [*lines[:at], lines[at].replace(separator, new), *lines[at + 1 :]],
        "blank line": [*lines[:at], "", *lines[at:]],
        "join lines": [*lines[:at], "".join(lines[at : at + 2]), *lines[at + 2 :]],
        "only header": lines[:1],
        "utf-16": lines,
    }
    return "\n".join(changed[kind]), f"{kind}, line {at + 1}"


def mutate_tree(tree: Any, rng: Random, odd: list[Any] | None = None) -> tuple[Any, str, tuple[Any, ...]]:
    """A copy of a document with one changed node, what was done, and the path of the node."""
    tree = copy.deepcopy(tree)
    paths = list(_paths(tree))
    path = rng.choice(paths[1:] or paths)
    owner = tree
    for key in path[:-1]:
        owner = owner[key]
    if not path or isinstance(owner, tuple):
        return rng.choice(odd or ODD_VALUES), "the whole document", ()
    key = path[-1]
    kind = rng.choice(["replace"] * 5 + ["delete", "retype", "wrap", "rename", "add", "swap", "repeat", "deep"])
    value = owner[key]
    if kind == "delete":
        del owner[key]
    elif kind == "rename" and isinstance(owner, dict):
        owner[f"{key}_" if isinstance(key, str) else str(key)] = owner.pop(key)
    elif kind == "add" and isinstance(owner, dict):
        owner[rng.choice(["x", "", 1, "seed", "x" * 300])] = copy.deepcopy(value)
    elif kind == "repeat" and isinstance(owner, list):
        owner.insert(key, copy.deepcopy(value))
    elif kind == "swap":
        other = rng.choice(list(owner) if isinstance(owner, dict) else range(len(owner)))
        owner[key], owner[other] = owner[other], value
    elif kind == "wrap":
        owner[key] = rng.choice([[value], {"x": value}])
    elif kind == "deep":
        owner[key] = nested(rng.choice([50, 400]))
    elif kind == "retype" and not isinstance(value, dict | list):
        owner[key] = _retyped(value, rng)
    else:
        kind, owner[key] = "replace", copy.deepcopy(rng.choice(odd or ODD_VALUES))
    shown = repr(owner[key])[:60] if kind in ("replace", "retype") else ""
    return tree, f"{kind} {'.'.join(map(str, path))[:80]} {shown}".strip(), path


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _paths(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for number in range(min(len(tree), 30)):
            yield from _paths(tree[number], (*path, number))


def _retyped(value: Any, rng: Random) -> Any:
    if isinstance(value, bool):
        return rng.choice([int(value), str(value), not value])
    if isinstance(value, int):
        return rng.choice([float(value), str(value), value + 1, -value, value * 1000])
    if isinstance(value, float):
        return rng.choice([str(value), -value, value * 1e10])
    if isinstance(value, str):
        return rng.choice([value.upper(), f" {value}", f"{value}\0", value * 50, list(value[:5]), value[:-1]])
    return [value]


def _odd_text(rng: Random) -> str:
    return rng.choice(ODD_TEXTS)


def _joined(rows: list[list[str]], separator: str) -> str:
    return "\n".join(separator.join(row) for row in rows)
