"""Answers as JSON, for servers that can be held to a schema."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["RESPONSE_FORMAT", "SCHEMA", "text_of_json"]

_PHRASES = {"type": "array", "items": {"type": "string"}, "minItems": 3, "maxItems": 6}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string", "description": "The text of the line Reasoning."},
        "explicit": {**_PHRASES, "description": "The phrases of the line Explicit."},
        "implicit": {**_PHRASES, "description": "The phrases of the line Implicit."},
    },
    "required": ["reasoning", "explicit", "implicit"],
    "additionalProperties": False,
}
RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
}


def text_of_json(text: str) -> str:
    """The labeled lines of a JSON answer that follows the schema; any other text unchanged.

    A server may ignore the schema, so every answer is validated.
    """
    import jsonschema

    try:
        content = json.loads(text)
        jsonschema.validate(content, SCHEMA)
    except (ValueError, RecursionError, jsonschema.ValidationError):
        return text
    explicit, implicit = (
        "; ".join(" ".join(p.split()) for p in content[name]) for name in ("explicit", "implicit")
    )
    return f"Reasoning: {' '.join(content['reasoning'].split())}\nExplicit: {explicit}\nImplicit: {implicit}"
