"""How likely each row of a table is: a mixture of Gaussians for the numbers times a factor for each category.

All columns share the components, so that dependence between columns of any type is seen. Rows are scored by a model that was
fitted without them, and the number of components is the one under which held-out rows are likeliest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.errors import ColumnError, DataError, OptionError, check_whole, nearest

if TYPE_CHECKING:
    from labelwright.auditing.profile import Column

COMPONENTS = (1, 2, 4)  # tried
_FOLDS, _STEPS, _TOLERANCE = 3, 40, 1e-3  # parts held out in turn; EM steps at most; least gain in nats per row
_PRIOR = 2.0  # rows, beyond one per column, that the prior covariance weighs: no component collapses
_FIT_ROWS = 2000  # rows a model is fitted to
MOST_CATEGORIES = 50  # commonest categories with a factor of their own; the others share one
_LOG_2PI = float(np.log(2 * np.pi))


class RowLikelihood(NamedTuple):
    """log_likelihood: (N,) nats under a model fitted without the row.   surprise: (N, D) how far each cell is from what
    the rest of its row says: conditional standard deviations of numbers, of categories the normal quantile of their
    conditional probability.   columns: (D,) names.   model: fitted to all rows."""

    log_likelihood: np.ndarray
    surprise: np.ndarray
    columns: tuple[str, ...]
    model: RowModel


class _Encoded(NamedTuple):
    """x: (N, D) numbers, 0 where missing.   there: (N, D) bool.   codes: per nominal column (N,), the last one = missing."""

    x: np.ndarray
    there: np.ndarray
    codes: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class RowModel:
    """p(row) = sum over M components of weight * Gaussian(numbers) * product of category probabilities.

    numbers, categories: column names.   centre, scale: (D,) of the numbers.   names: category names per nominal column;
    the code after the last one is "rare", then "missing".   weight: (M,).   mean: (M, D) in scaled units.
    cov: (M, D, D).   table: per nominal column (M, C) probabilities.
    """

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    centre: np.ndarray
    scale: np.ndarray
    names: tuple[tuple[str, ...], ...]
    weight: np.ndarray
    mean: np.ndarray
    cov: np.ndarray
    table: tuple[np.ndarray, ...]

    def encode(self, columns: Sequence[Column]) -> _Encoded:
        """The arrays that the model reads, from columns of the same names."""
        by_name = {c.name: c for c in columns}
        n = len(columns[0])
        x = np.column_stack([by_name[name].values for name in self.numbers]) if self.numbers else np.zeros((n, 0))
        there = ~np.isnan(x)
        x = np.where(there, (x - self.centre) / self.scale, 0.0)
        return _Encoded(x, there, [_recode(by_name[c], names) for c, names in zip(self.categories, self.names)])

    def log_joint(self, rows: _Encoded) -> np.ndarray:
        """(N, M) log of weight times density. A missing number counts as the component's mean, without its density."""
        out = np.tile(np.log(self.weight), (len(rows.x), 1))
        for m, (mean, cov) in enumerate(zip(self.mean, self.cov)):
            lower = np.linalg.cholesky(cov)
            from_mean = np.where(rows.there, rows.x - mean, 0.0)
            white = from_mean @ np.linalg.inv(lower).T
            per_column = np.log(np.diagonal(lower)) + 0.5 * _LOG_2PI
            out[:, m] -= 0.5 * np.einsum("nd,nd->n", white, white) + rows.there @ per_column
        for codes, table in zip(rows.codes, self.table):
            out += np.log(table[:, codes]).T
        return out

    def log_likelihood(self, rows: _Encoded) -> np.ndarray:
        """(N,) nats."""
        return _logsumexp(self.log_joint(rows))

    def surprise(self, rows: _Encoded) -> np.ndarray:
        """(N, D) of `RowLikelihood`: numbers first, then categories; under the likeliest component of each row."""
        from scipy.special import ndtri

        joint = self.log_joint(rows)
        best = joint.argmax(1)
        numbers = np.zeros_like(rows.x)
        for m in range(len(self.weight)):
            mine = np.flatnonzero(best == m)
            precision = np.linalg.inv(self.cov[m]) if len(self.numbers) else np.zeros((0, 0))
            gap = np.where(rows.there[mine], rows.x[mine] - self.mean[m], 0.0)
            numbers[mine] = np.abs(gap @ precision) / np.sqrt(np.diagonal(precision))
        odd = []
        for codes, table in zip(rows.codes, self.table):
            others = joint - np.log(table[:, codes]).T
            p = np.exp(_logsumexp(joint) - _logsumexp(others))
            odd.append(-ndtri(np.clip(p / 2, 1e-12, 0.5)))
        return np.column_stack([np.where(rows.there, numbers, 0.0), *odd])

    def sample(self, n: int, *, given: Mapping[str, Any] | None = None, random_state: int = 0) -> dict[str, np.ndarray]:
        """n simulated rows, by column name, for a condition such as {"sex": "F", "age": 40}.

        Numbers are float64; categories are names, "(rare)" for those that share a factor, None for missing.

        Raises:
            ColumnError: a condition on a column that the model does not have.   OptionError: n < 1, or a category that it
                has not seen often enough.

        >>> from labelwright.auditing.profile import read_columns
        >>> columns = read_columns({"a": [1.0, 1.1, 0.9, 5.0, 5.2, 4.8] * 9, "b": ["x", "x", "x", "y", "y", "y"] * 9})
        >>> model = row_likelihood(columns).model
        >>> bool(abs(model.sample(500, given={"b": "y"})["a"].mean() - 5) < 0.5)
        True
        """
        check_whole("n", n, 1)
        rng = np.random.default_rng(random_state)
        fixed, log_weight = self._condition(given or {})
        weight = np.exp(log_weight - _logsumexp(log_weight[None])[0])
        component = rng.choice(len(weight), n, p=weight / weight.sum())
        x = np.empty((n, len(self.numbers)))
        held = np.array([name in fixed for name in self.numbers], dtype=bool)
        value = np.array([fixed.get(name, 0.0) for name in self.numbers])
        for m in np.unique(component):
            mine = component == m
            mean, lower = _conditional(self.mean[m], self.cov[m], held, value)
            x[np.ix_(mine, ~held)] = mean + rng.standard_normal((int(mine.sum()), int((~held).sum()))) @ lower.T
            x[np.ix_(mine, held)] = value[held]
        out: dict[str, np.ndarray] = dict(zip(self.numbers, (x * self.scale + self.centre).T))
        for name, names, table in zip(self.categories, self.names, self.table):
            spelled = np.array([*names, "(rare)", None], dtype=object)
            if given and name in given:
                out[name] = np.full(n, str(given[name]), dtype=object)
            else:
                steps = np.cumsum(table[component], axis=1)
                at = (steps < rng.random((n, 1)) * steps[:, -1:]).sum(1)
                out[name] = spelled[np.minimum(at, len(spelled) - 1)]
        return out

    def _condition(self, given: Mapping[str, Any]) -> tuple[dict[str, float], np.ndarray]:
        """Scaled values of the numbers held fixed, and (M,) log weights given all conditions."""
        fixed: dict[str, float] = {}
        log_weight = np.log(self.weight).copy()
        for name, value in given.items():
            if name in self.categories:
                at = self.categories.index(name)
                if str(value) not in self.names[at]:
                    raise OptionError(
                        found=f"given[{name!r}]={value!r}",
                        expected=f"one of {', '.join(map(repr, nearest(str(value), self.names[at])[:5]))}",
                        fix="take a category that is common enough to have a factor of its own",
                    )
                log_weight += np.log(self.table[at][:, self.names[at].index(str(value))])
            elif name in self.numbers:
                at = self.numbers.index(name)
                fixed[name] = (float(value) - self.centre[at]) / self.scale[at]
            else:
                known = (*self.numbers, *self.categories)
                raise ColumnError(
                    found=f"a condition on {name!r}",
                    expected=f"one of the model's columns, such as {', '.join(nearest(name, known)[:4])}",
                    fix="name a nominal or numeric column",
                )
        held = [i for i, name in enumerate(self.numbers) if name in fixed]
        if held:
            value = np.array([fixed[self.numbers[i]] for i in held])
            for m in range(len(self.weight)):
                log_weight[m] += _log_normal(value, self.mean[m][held], self.cov[m][np.ix_(held, held)])
        return fixed, log_weight


def _conditional(
    mean: np.ndarray, cov: np.ndarray, held: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and Cholesky factor of the free numbers given the held ones."""
    free = ~held
    if not free.any() or not held.any():
        return mean[free], np.linalg.cholesky(cov[np.ix_(free, free)])
    gain = np.linalg.solve(cov[np.ix_(held, held)], cov[np.ix_(held, free)]).T
    rest = cov[np.ix_(free, free)] - gain @ cov[np.ix_(held, free)]
    return mean[free] + gain @ (value - mean)[held], np.linalg.cholesky((rest + rest.T) / 2)


def _log_normal(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> float:
    lower = np.linalg.cholesky(cov)
    white = np.linalg.solve(lower, x - mean)
    return float(-0.5 * white @ white - np.log(np.diagonal(lower)).sum() - 0.5 * len(x) * _LOG_2PI)


def _logsumexp(a: np.ndarray) -> np.ndarray:
    top = a.max(1, keepdims=True)
    return (top + np.log(np.exp(a - top).sum(1, keepdims=True)))[:, 0]


def _recode(column: Column, names: Sequence[str]) -> np.ndarray:
    """(N,) codes into `names`, then "rare", then "missing"."""
    place = {name: i for i, name in enumerate(names)}
    table = np.array([place.get(name, len(names)) for name in column.names] + [len(names) + 1])
    return table[column.codes]


# ------------------------------------------------------------------------------------------------------------- fitting
def row_likelihood(
    columns: Sequence[Column], *, components: Sequence[int] = COMPONENTS, min_cell: int = 5, random_state: int = 0
) -> RowLikelihood:
    """How likely every row is under a model of the whole table, and which of its cells are the odd ones.

    Args:
        columns: of one table; nominal and numeric ones that are not constant are used.
        components: numbers of components to try; the one with the likeliest held-out rows is taken.
        min_cell: categories of fewer rows share one factor and are never simulated.
        random_state: seed of folds and starting points.

    Returns:
        log_likelihood (N,), surprise (N, D), columns (D,), model.

    Raises:
        DataError: fewer than 10 rows or no usable column.   OptionError: a number of components below 1.

    Source: EM for a mixture of Gaussians with an inverse Wishart prior (Fraley & Raftery 2007) and latent-class factors.
    """
    tried = sorted({int(m) for m in components})
    for m in tried:
        check_whole("components", m, 1)
    empty = _empty_model(columns, min_cell)
    rows = empty.encode(columns)
    n = len(rows.x)
    rng = np.random.default_rng(random_state)
    fold = rng.permutation(n) % _FOLDS
    held_out, n_components = np.zeros(n), 0
    models: list[RowModel] = []
    for m in tried:
        fitted = [_fit(empty, _at(rows, _some(fold != f, rng)), m, rng) for f in range(_FOLDS)]
        score = np.empty(n)
        for f, model in enumerate(fitted):
            score[fold == f] = model.log_likelihood(_at(rows, np.flatnonzero(fold == f)))
        gain = np.clip(score - held_out, -5, 5).mean()  # clipped: a few broken rows must not choose the model
        if not n_components or gain > 0.01:
            held_out, n_components, models = score, m, fitted
    surprise = np.zeros((n, len(empty.numbers) + len(empty.categories)))
    for f, model in enumerate(models):
        surprise[fold == f] = model.surprise(_at(rows, np.flatnonzero(fold == f)))
    whole = _fit(empty, _at(rows, _some(np.ones(n, bool), rng)), n_components, rng)
    return RowLikelihood(held_out, surprise, (*empty.numbers, *empty.categories), whole)


def _some(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    index = np.flatnonzero(mask)
    return index if len(index) <= _FIT_ROWS else np.sort(rng.choice(index, _FIT_ROWS, replace=False))


def _at(rows: _Encoded, index: np.ndarray) -> _Encoded:
    return _Encoded(rows.x[index], rows.there[index], [c[index] for c in rows.codes])


def _empty_model(columns: Sequence[Column], min_cell: int) -> RowModel:
    """Names and scales; no components yet."""
    numbers = [c for c in columns if c.numeric and c.known.sum() >= 10 and np.ptp(c.values[c.known]) > 0]
    nominal = [c for c in columns if c.nominal and len(np.unique(c.codes)) > 1]
    if not columns or len(columns[0]) < 10 or not numbers + nominal:
        raise DataError(
            found=f"{len(columns[0]) if columns else 0} rows and {len(numbers) + len(nominal)} columns that vary",
            expected="at least 10 rows and one nominal or numeric column that is not constant",
            fix="row likelihood needs a table to learn from; leave it out for this one",
        )
    names = []
    for c in nominal:
        counts = np.bincount(c.codes[c.codes >= 0], minlength=len(c.names))
        common = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
        names.append(tuple(c.names[i] for i in sorted(common) if counts[i] >= min_cell))
    centre = np.array([np.median(c.values[c.known]) for c in numbers])
    scale = np.array([_spread(c.values[c.known]) for c in numbers])
    nothing = np.zeros((0, len(numbers)))
    return RowModel(
        tuple(c.name for c in numbers), tuple(c.name for c in nominal), centre, scale, tuple(names),
        np.zeros(0), nothing, np.zeros((0, len(numbers), len(numbers))), (),
    )  # fmt: skip


def _spread(values: np.ndarray) -> float:
    """Half the distance of the 2.5 and 97.5 percentiles in standard deviations: a few wild cells do not change it."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float((high - low) / 3.92) or float(values.std()) or 1.0


def _fit(empty: RowModel, rows: _Encoded, m: int, rng: np.random.Generator) -> RowModel:
    """EM from a random partition around m rows that lie far apart; stops when a row gains under 1e-3 nats on average."""
    n, d = rows.x.shape
    m = max(1, min(m, n // (2 * (d + 2))))
    part = np.zeros(n, int) if m == 1 else _partition(np.clip(rows.x, -4, 4), rows.codes, m, rng)
    share = np.eye(m)[part] * 0.9 + 0.1 / m
    before, model = -np.inf, empty
    for _ in range(_STEPS):
        model = _maximise(empty, rows, share)
        joint = model.log_joint(rows)
        total = _logsumexp(joint)
        share = np.exp(joint - total[:, None])
        if m == 1 or total.mean() - before < _TOLERANCE:
            break
        before = float(total.mean())
    return model


def _partition(x: np.ndarray, codes: list[np.ndarray], m: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) part of each row: a few steps of k-means on numbers and category indicators."""
    blocks = [x] + [np.eye(int(c.max()) + 1)[c] for c in codes]
    data = np.column_stack(blocks)
    centres = data[[int(rng.integers(len(data)))]]
    for _ in range(m - 1):  # k-means++
        far = ((data[:, None] - centres) ** 2).sum(2).min(1)
        p = far / far.sum() if far.sum() > 0 else np.full(len(data), 1 / len(data))
        centres = np.vstack([centres, data[rng.choice(len(data), p=p)]])
    part = np.zeros(len(data), int)
    for _ in range(10):
        part = ((data[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.array([data[part == j].mean(0) if (part == j).any() else centres[j] for j in range(m)])
    return part


def _maximise(empty: RowModel, rows: _Encoded, share: np.ndarray) -> RowModel:
    """Weights, means, covariances and category tables, all with a little prior."""
    n, d = rows.x.shape
    size = share.sum(0)
    weight = (size + 1) / (n + len(size))
    mean, cov = np.empty((len(size), d)), np.empty((len(size), d, d))
    overall = rows.x.var(0) if d else np.zeros(0)
    for j in range(len(size)):
        known = share[:, [j]] * rows.there
        mean[j] = (known * rows.x).sum(0) / np.maximum(known.sum(0), 1e-9)
        gap = np.where(rows.there, rows.x - mean[j], 0.0)
        prior = (d + _PRIOR) * np.diag(np.minimum(overall, 1.0) / len(size) ** (2 / max(d, 1)) + 1e-6)
        cov[j] = ((share[:, [j]] * gap).T @ gap + prior) / (size[j] + d + _PRIOR)
    tables = []
    for codes, names in zip(rows.codes, empty.names):
        levels = len(names) + 2
        overall_p = (np.bincount(codes, minlength=levels) + 0.5) / (n + 0.5 * levels)
        counts = np.array([np.bincount(codes, share[:, j], levels) for j in range(len(size))])
        tables.append((counts + overall_p) / (size[:, None] + 1))
    return RowModel(
        empty.numbers, empty.categories, empty.centre, empty.scale, empty.names, weight, mean, cov, tuple(tables)
    )
