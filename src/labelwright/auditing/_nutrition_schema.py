"""The form of a nutrition label as a JSON schema, and a check against it that names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelwright.auditing.defects import CODES, SEVERITIES
from labelwright.errors import DataError

FORMAT, VERSION = "labelwright nutrition label", 1
KINDS = ("qualitative", "quantitative")
ORIGINS = ("human", "statistical backend", "probabilistic backend")
STATES = ("ok", "partial", "missing", "not applicable")
MODULES = (
    "metadata", "provenance", "variables", "statistics", "pair_plots", "probabilistic_model", "reference_correlations",
    "label_quality", "label_provenance",
)  # fmt: skip


def nutrition_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that every label follows."""
    text = {"type": "string"}
    warning = {
        "type": "object",
        "required": ["code", "columns", "message", "severity"],
        "properties": {
            "code": {"enum": list(CODES)},
            "columns": {"type": "array", "items": text},
            "message": text,
            "severity": {"enum": list(SEVERITIES)},
        },
    }
    module = {
        "type": "object",
        "required": ["name", "title", "kind", "origin", "required_inputs", "status", "why", "content", "warnings"],
        "properties": {
            "name": {"enum": list(MODULES)},
            "title": text,
            "kind": {"enum": list(KINDS)},
            "origin": {"enum": list(ORIGINS)},
            "required_inputs": {"type": "array", "items": text},
            "status": {"enum": list(STATES)},
            "why": text,
            "content": {"type": "object"},
            "warnings": {"type": "array", "items": warning},
        },
    }
    header = {
        "type": "object",
        "required": [
            "name",
            "rows",
            "columns",
            "label",
            "split",
            "sample",
            "random_state",
            "min_cell",
            "completeness",
            "tool",
        ],
        "properties": {"rows": {"type": "integer"}, "columns": {"type": "integer"}, "completeness": {"type": "object"}},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["format", "version", "header", "modules"],
        "properties": {
            "format": {"enum": [FORMAT]},
            "version": {"enum": [VERSION]},
            "header": header,
            "modules": {"type": "array", "items": module},
        },
    }


def check_document(document: Any) -> None:
    """Raise `DataError`, naming the place, unless the document follows the schema and holds every module once, in order."""
    _check(document, nutrition_schema(), "label")
    names = tuple(m["name"] for m in document["modules"])
    if names != MODULES:
        raise DataError(
            found=f"the modules {', '.join(names)}",
            expected=f"{', '.join(MODULES)}, in this order: a module that cannot be filled stays and says why",
            fix="write the label with nutrition_label(...).to_json()",
        )


_TYPES: dict[str, Any] = {"object": Mapping, "array": list, "string": str, "integer": int}


def _check(value: Any, schema: Mapping[str, Any], place: str) -> None:
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, _TYPES[kind]) or isinstance(value, bool)):
        _refuse(place, f"a {type(value).__name__}", f"{kind} at {place}")
    if "enum" in schema and value not in schema["enum"]:
        _refuse(place, repr(value), "one of " + ", ".join(map(repr, schema["enum"])))
    for name in schema.get("required", ()):
        if name not in value:
            _refuse(place, f"no {name!r} in {place}", f"the keys {', '.join(schema['required'])}")
    for name, inner in schema.get("properties", {}).items():
        if name in value:
            _check(value[name], inner, f"{place}.{name}")
    for i, one in enumerate(value if "items" in schema else ()):
        _check(one, schema["items"], f"{place}[{i}]")


def _refuse(place: str, found: str, expected: str) -> None:
    raise DataError(found=found, expected=expected, fix=f"mend {place}, or write the label anew with nutrition_label")
