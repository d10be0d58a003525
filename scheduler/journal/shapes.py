"""The shape of a stored value as a short text that changes whenever any field, type or choice within it does."""

import hashlib
from typing import Any

import msgspec

__all__ = ["shape_of"]


def shape_of(kind: type) -> str:
    """A digest of the type's schema with all that it holds; words that only explain do not count."""
    schema = msgspec.json.encode(_bare(msgspec.json.schema(kind)), order="deterministic")
    return hashlib.sha256(schema).hexdigest()[:16]


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key != "description"}
    if isinstance(schema, list):
        return [_bare(value) for value in schema]
    return schema
