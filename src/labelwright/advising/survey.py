"""Which evidence about labels does this data hold?"""

from __future__ import annotations

from labelwright.advising._arrays import Source
from labelwright.advising._survey_arrays import survey_arrays
from labelwright.advising._survey_table import survey_table
from labelwright.advising.evidence import Survey
from labelwright.errors import ColumnError, nearest


def survey(source: Source, *, label: str | None = None, text: str | None = None, image: str | None = None) -> Survey:
    """Everything in one source that says something about labels, each with how it was recognised.

    Args:
        source: a table or named arrays.
        label, text, image: columns (or the array of labels) that the caller named; guessed where None.

    Raises:
        ColumnError: a name that is not there.   DataError: a column that cannot be what the caller says.
    """
    found = Survey(source.name, source.path, keys=tuple(source.names))
    if source.arrays is not None:
        for role, name in (("label", label), ("text", text), ("image", image)):
            if name is not None and name not in source.arrays:
                close = nearest(name, source.arrays)[:4]
                raise ColumnError(
                    found=f"no array {name!r} for {role}",
                    expected=f"one of {', '.join(map(repr, close))}",
                    fix=f"did you mean {role}={close[0]!r}?" if close else "leave it out",
                )
        survey_arrays(dict(source.arrays), found, label=label)
        return found
    found.auditable = source.path is not None
    found.options = {k: v for k, v in (("split", source.split),) if v}
    survey_table(source.table, found, source.root, label=label, text=text, image=image)
    return found
