"""The nutrition label of a data set: nine modules that say what is in it, where it is from and how far to trust it.

Source: Holland et al. 2018, "The Dataset Nutrition Label" (arXiv 1805.03677), modules 1 to 7; label quality and label
provenance are ours. A module never disappears: one that cannot be filled says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import labelwright
from labelwright.auditing import _nutrition_modules as build
from labelwright.auditing._nutrition_page import nutrition_html
from labelwright.auditing._nutrition_questions import Answers, nutrition_questions, read_answers
from labelwright.auditing._nutrition_schema import FORMAT, VERSION, check_document, nutrition_schema
from labelwright.auditing._profile_read import read_table
from labelwright.auditing.defects import TableWarning, table_warnings
from labelwright.auditing.profile import Column, read_columns, row_sample
from labelwright.errors import DataError, OptionError, check_whole
from labelwright.labels import need

if TYPE_CHECKING:
    from labelwright.auditing.result import Audit

__all__ = [
    "Change",
    "Module",
    "NutritionLabel",
    "nutrition_html",
    "nutrition_label",
    "nutrition_questions",
    "nutrition_schema",
]

_FEW_CLASSES = 20  # whole numbers of at most so many values are classes where they are the label
_PAIR_CODES = {"target_leak", "proxy", "missing_not_at_random"}
_LABEL_CODES = {"swapped_labels", "split_overlap"}
_FIGURES = 6  # significant figures that are kept, so that a label does not change with the machine


class Change(NamedTuple):
    """place: dotted path in the document.   before, after: None where there was nothing."""

    place: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Module:
    """One part of a label.

    kind: "qualitative" or "quantitative".   origin: "human", "statistical backend" or "probabilistic backend".
    required_inputs: what it is made from.   status: "ok", "partial", "missing" or "not applicable".   why: if not ok.
    """

    name: str
    title: str
    kind: str
    origin: str
    required_inputs: tuple[str, ...]
    status: str = "ok"
    why: str = ""
    content: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[TableWarning, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain dictionaries and lists."""
        plain = {k: getattr(self, k) for k in ("name", "title", "kind", "origin", "status", "why", "content")}
        warnings = [w._asdict() | {"columns": list(w.columns)} for w in self.warnings]
        return plain | {"required_inputs": list(self.required_inputs), "warnings": warnings}


@dataclass(frozen=True)
class NutritionLabel:
    """header: name, rows, columns, label, split, sample, random_state, min_cell, types told, completeness, tool.
    modules: nine, always in the same order."""

    header: dict[str, Any]
    modules: tuple[Module, ...]

    def __getitem__(self, name: str) -> Module:
        """The module of that name.

        Raises:
            ColumnError: there is none.
        """
        found: Module = need({m.name: m for m in self.modules}, name)
        return found

    @property
    def warnings(self) -> list[TableWarning]:
        """Those of all modules, in their order."""
        return [w for m in self.modules for w in m.warnings]

    @property
    def completeness(self) -> float:
        """Share of the questions to people that are answered, in [0, 1]."""
        return float(self.header["completeness"]["share"])

    def document(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers that follow `nutrition_schema`."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "header": self.header,
            "modules": [m.document() for m in self.modules],
        }

    def to_json(self) -> str:
        """The document as JSON. The same data and options give the same text."""
        return json.dumps(self.document(), ensure_ascii=False, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> NutritionLabel:
        """A label that `to_json` wrote.

        Raises:
            DataError: no JSON, or another form than `nutrition_schema`.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise DataError(
                found=f"text that is no JSON ({error})", expected="a nutrition label", fix="pass what to_json wrote"
            ) from None
        check_document(document)
        return cls(document["header"], tuple(_module(m) for m in document["modules"]))

    def diff(self, older: NutritionLabel) -> list[Change]:
        """What changed since an older label, by place in the document. Warnings count by code and columns."""
        before, after = _flat(older), _flat(self)
        places = list(dict.fromkeys([*before, *after]))
        return [Change(p, before.get(p), after.get(p)) for p in places if before.get(p) != after.get(p)]

    def __repr__(self) -> str:
        h = self.header
        return (
            f"NutritionLabel({h['rows']:,} rows, {h['columns']} columns: {len(self.warnings)} warnings, "
            f"{self.completeness:.0%} of the questions answered)"
        )

    def _repr_html_(self) -> str:
        return nutrition_html(self)


def _module(m: Mapping[str, Any]) -> Module:
    warnings = tuple(TableWarning(w["code"], tuple(w["columns"]), w["message"], w["severity"]) for w in m["warnings"])
    return Module(
        m["name"],
        m["title"],
        m["kind"],
        m["origin"],
        tuple(m["required_inputs"]),
        m["status"],
        m["why"],
        m["content"],
        warnings,
    )


def _flat(label: NutritionLabel) -> dict[str, Any]:
    """Place -> value; lists are values."""
    out = dict(_leaves(label.header, "header"))
    for m in label.modules:
        out |= dict(_leaves({"status": m.status, "why": m.why, "content": m.content}, m.name))
        out |= {f"{m.name}.warnings.{w.code}.{','.join(w.columns)}": w.message for w in m.warnings}
    return out


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}")
    else:
        yield place, value


# ------------------------------------------------------------------------------------------------------------- making
def nutrition_label(
    table: Any,
    *,
    label: str | None = None,
    audit: Audit | None = None,
    name: str | None = None,
    source: Any = None,
    answers: Mapping[str, Any] | None = None,
    reference: Any = None,
    split: str | None = None,
    types: Mapping[str, str | Sequence[str]] | None = None,
    sample: int = 20_000,
    random_state: int = 0,
    min_cell: int = 5,
) -> NutritionLabel:
    """The nutrition label of a table.

    Args:
        table: pandas, polars, pyarrow, Hugging Face data set, or a mapping of columns; text, images and vectors may be among
            them.
        label: name of the label column.   audit: what `labelwright.audit` said of these labels.
        name: of the data set.   source: the file it was read from (its name, size and checksum are told), or words.
        answers: to the questions of `nutrition_questions`; what is left out is shown as missing.
        reference: a table to compare with over a shared key column, one row per key; or
            {"table": ..., "key": ..., "source": ..., "date": ...}.
        split: name of the column that tells training from test rows.
        types: column -> one of `profile.TYPES`, or the ordered list of its values, where the guess is wrong.
        sample: rows that all but duplicates and overlap are counted on, drawn with `random_state`.
        min_cell: nothing is told of fewer rows than this.

    Raises:
        DataError: no rows, no columns, two columns of one name, an audit of another number of items.
        ColumnError: `label`, `split` or a column of `types` or `answers` that is not there.
        OptionError: an unknown type, question or module; sample or min_cell below 1.

    >>> told = nutrition_label({"size": [1.0, 2.0, 2.5] * 20, "kind": ["a", "b", "b"] * 20}, label="kind")
    >>> told["statistics"].status, told["label_quality"].status, told["reference_correlations"].status
    ('ok', 'partial', 'missing')
    """
    check_whole("min_cell", min_cell, 1)
    arrow = read_table(table)
    for column in filter(None, (label, split)):
        need(dict.fromkeys(arrow.column_names), column)
    told = read_answers(answers, arrow.column_names)
    whole = _typed(read_columns(arrow, types), label, types)
    n = arrow.num_rows
    _check_audit(audit, n)
    rows = row_sample(n, sample, random_state)
    columns = [c.take(rows) for c in whole] if len(rows) < n else whole
    warnings = table_warnings(
        columns,
        label=label,
        split=split,
        sensitive=told.sensitive,
        allowed=told.allowed,
        whole=whole,
        min_cell=min_cell,
    )
    by_name = {c.name: c for c in columns}
    built = {
        "metadata": _metadata(told, whole, name, source),
        "provenance": _told(told.fields["provenance"]),
        "variables": _variables(told),
        "statistics": build.statistics_module(columns, min_cell),
        "pair_plots": build.pair_module(columns, min_cell, random_state),
        "probabilistic_model": build.model_module(columns, rows, label, min_cell, random_state),
        "reference_correlations": build.reference_module(arrow, whole, reference, min_cell),
        "label_quality": build.quality_module(by_name.get(label or ""), audit, min_cell),
        "label_provenance": _label_provenance(told, label, audit),
    }
    header = {
        "name": name,
        "rows": n,
        "columns": arrow.num_columns,
        "label": label,
        "split": split,
        "sample": {"rows": len(rows), "of": n},
        "random_state": random_state,
        "min_cell": min_cell,
        "types": {k: v if isinstance(v, str) else list(map(str, v)) for k, v in (types or {}).items()},
        "completeness": _completeness(told, label is not None or audit is not None),
        "tool": f"labelwright {labelwright.__version__}",
    }
    made = [replace(_EMPTY[k], content=_plain(c), status=s, why=w) for k, (c, s, w) in built.items()]
    return NutritionLabel(_plain(header), tuple(replace(m, warnings=_belonging(m.name, warnings)) for m in made))


def _module_of(name: str, title: str, kind: str, origin: str, *inputs: str) -> tuple[str, Module]:
    return name, Module(name, title, kind, origin, inputs)


_EMPTY = dict(
    (
        _module_of("metadata", "Metadata", "qualitative", "human", "answers", "table"),
        _module_of("provenance", "Provenance", "qualitative", "human", "answers"),
        _module_of("variables", "Variables", "qualitative", "human", "answers"),
        _module_of("statistics", "Statistics", "quantitative", "statistical backend", "table"),
        _module_of("pair_plots", "Pairs of columns", "quantitative", "statistical backend", "table"),
        _module_of("probabilistic_model", "Probabilistic model", "quantitative", "probabilistic backend", "table"),
        _module_of(
            "reference_correlations", "Comparison with a reference", "quantitative", "statistical backend", "reference"
        ),
        _module_of("label_quality", "Label quality", "quantitative", "statistical backend", "label", "audit"),
        _module_of("label_provenance", "Label provenance", "qualitative", "human", "answers", "label"),
    )
)


def _belonging(module: str, warnings: Sequence[TableWarning]) -> tuple[TableWarning, ...]:
    place = dict.fromkeys(_PAIR_CODES, "pair_plots") | dict.fromkeys(_LABEL_CODES, "label_quality")
    return tuple(w for w in warnings if place.get(w.code, "statistics") == module)


def _typed(columns: list[Column], label: str | None, types: Mapping[str, Any] | None) -> list[Column]:
    """A label of few whole numbers is one of classes, unless its type was told."""
    out = []
    for c in columns:
        few = c.name == label and c.name not in (types or {}) and c.type == "discrete"
        values = np.unique(c.values[c.known]) if few else np.zeros(0)
        if few and 0 < len(values) <= _FEW_CLASSES:
            codes = np.where(c.known, np.searchsorted(values, np.where(c.known, c.values, values[0])), -1)
            c = replace(c, type="nominal", codes=codes, names=tuple(str(int(v)) for v in values))
        out.append(c)
    return out


def _check_audit(audit: Audit | None, n: int) -> None:
    if audit is None:
        return
    if not hasattr(audit, "error_rate"):
        raise OptionError(
            found=f"audit of type {type(audit).__name__}",
            expected="what labelwright.audit returned",
            fix="pass that, or None",
        )
    if len(audit.items) != n:
        raise DataError(
            found=f"an audit of {len(audit.items):,} items beside a table of {n:,} rows",
            expected="the audit of this table's labels",
            fix="pass the table that was audited",
        )


# ------------------------------------------------------------------------------------------------ what people tell
def _state(answered: int, asked: int) -> tuple[str, str]:
    if answered == asked:
        return "ok", ""
    return ("partial" if answered else "missing"), f"{asked - answered} of {asked} questions are not answered"


def _told(fields: Mapping[str, Any]) -> build.Built:
    return dict(fields), *_state(sum(v is not None for v in fields.values()), len(fields))


def _metadata(told: Answers, whole: Sequence[Column], name: str | None, source: Any) -> build.Built:
    fields, status, why = _told(told.fields["metadata"])
    cells = len(whole) * len(whole[0])
    gone = sum(int((~c.known).sum()) for c in whole)
    facts = {
        "name": name,
        **build.file_facts(source),
        "rows": len(whole[0]),
        "columns": len(whole),
        "missing_share": gone / cells,
    }
    kinds = {kind: sum(c.type == kind for c in whole) for kind in dict.fromkeys(c.type for c in whole)}
    return {"facts": facts | {"types": kinds}, **fields}, "partial" if status == "missing" else status, why


def _variables(told: Answers) -> build.Built:
    described = sum(a["description"] is not None for a in told.columns.values())
    status, why = _state(described + (told.sensitive is not None), len(told.columns) + 1)
    return {"sensitive": told.sensitive, "columns": told.columns}, status, why


def _label_provenance(told: Answers, label: str | None, audit: Audit | None) -> build.Built:
    if label is None and audit is None:
        return {}, "not applicable", "no label column was named"
    content, status, why = _told(told.fields["label_provenance"])
    if audit is not None:
        content["reviewed_by_people"] = int(audit.reviewed.sum())
    return content, status, why


def _completeness(told: Answers, labelled: bool) -> dict[str, Any]:
    """Questions asked and answered; of a column only its description counts."""
    said = [v is not None for m, f in told.fields.items() for v in f.values() if labelled or m != "label_provenance"]
    said += [a["description"] is not None for a in told.columns.values()]
    return {"asked": len(said), "answered": sum(said), "share": sum(said) / len(said)}


def _plain(value: Any) -> Any:
    """Ready for JSON: NumPy numbers become Python's, what is not finite becomes None, numbers keep six figures."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.{_FIGURES}g}") if np.isfinite(value) else None
    return None if value is None else str(value)
