"""`aggregate_masks`: masks of several people in; one mask, a risk per pixel and the skill of each labeller out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds.regions.calibration import fit_dependence
from labelwright.crowds.regions.consensus import (
    Consensus,
    bayes_tables,
    consensus_of,
    posterior,
    share_tables,
    weighted_share,
)
from labelwright.crowds.regions.drawn import DrawnMasks, expert_answers
from labelwright.crowds.regions.labellers import Skills, labeller_skills
from labelwright.errors import DataError, OptionError, check_option, check_whole
from labelwright.labels import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

RISKY = 0.34  # risk above which the paper counts a pixel as risky


@dataclass(frozen=True, eq=False)
class MaskAggregation:
    """Masks of N items merged. `found[item]` is the `Consensus` of an item, computed when it is asked for and not kept.

    sites: a row per item: item, labellers (who count), mean_risk, risky (share of pixels with a risk above 0.34), agreement
        (share of pixels on which all say the same), enough (at least min_labellers). Items of the lowest quality, for review:
        those with the largest mean_risk.
    labellers: a row per labeller, see `Skills.table`.   skills: the same as arrays.   space: the classes.
    notes: what could not be told.   settings: what was asked for and what was fitted.
    """

    sites: pa.Table
    labellers: pa.Table
    skills: Skills
    space: LabelSpace
    notes: list[str]
    settings: dict[str, Any]
    _merge: _Merge = field(repr=False)

    def __len__(self) -> int:
        return len(self._merge.drawn)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._merge.drawn.items)

    def __getitem__(self, item: Any) -> Consensus:
        if item not in self._merge.drawn:
            raise DataError(found=f"item {item!r}", expected="an item of the masks", fix="list(found) gives their keys")
        return self._merge.of(item)[0]


@dataclass(frozen=True, eq=False)
class _Merge:
    """drawn: the masks.   tables: (A, K + 2, K).   prior: (K,), None for shares.   voters: "all", "trusted", "best", "worst"."""

    drawn: DrawnMasks
    skills: Skills
    tables: np.ndarray
    prior: np.ndarray | None
    dependence: float
    voters: str

    def of(self, item: Any) -> tuple[Consensus, np.ndarray]:
        """The consensus, and the answers (n, H, W) it rests on."""
        who, said = self.drawn.of(item)
        chosen = self._chosen(who)
        who, said = who[chosen], said[chosen]
        if self.prior is None:
            p, method = weighted_share(who, said, self.tables), "share"
        else:
            p, method = posterior(who, said, self.tables, self.prior, self.dependence), "bayes"
        return consensus_of(p, tuple(self.drawn.labellers[a] for a in who), method), said

    def _chosen(self, who: np.ndarray) -> np.ndarray:
        """Places of the labellers who count; all where none is trusted."""
        score = self.skills.filled()[0][who]
        if self.voters == "trusted":
            trusted = np.flatnonzero(self.skills.trusted[who])
            return trusted if len(trusted) else np.arange(len(who))
        if self.voters == "best":
            return np.flatnonzero(score == score.max())[:1]
        if self.voters == "worst":
            return np.flatnonzero(score == score.min())[:1]
        return np.arange(len(who))


def aggregate_masks(
    masks: Any,
    labellers: Any = None,
    *,
    items: Any = None,
    expert: Mapping[Any, Any] | None = None,
    method: str = "bayes",
    voters: str = "all",
    space: Any = None,
    background: int = 0,
    width: int = 3,
    threshold: float = 0.5,
    min_labellers: int = 3,
    dependence: float | None = None,
    random_state: int = 0,
) -> MaskAggregation:
    """One mask per image out of those that several people drew, how likely each pixel of it is wrong, and who can be believed.

    Args:
        masks: item -> {labeller: (H, W) class ids}; or records with the keys item, labeller, mask; or V masks with the columns
            `items` and `labellers` beside them. -1 (or NaN) is "nothing said", 0.5 in masks of floats "unsure". An empty mask
            is a vote. Masks are read image by image, four times with expert masks, and not kept: a mapping may load them.
        expert: item -> (H, W) class ids by an expert, -1 where nothing was checked. Skills come from these items. None: all
            labellers count alike, which the notes say, and the consensus is a share.
        method: "bayes", the posterior of each pixel, or "share", votes weighted by score * recall of the class drawn (the
            paper's; for ranking sites by risk, not as a probability).
        voters: "all"; "trusted", those whose last scores reach `threshold`; "best" or "worst", the one of that score per item.
        space: LabelSpace or class names; default 0 .. the largest id.   background: the class that is no object, for skills.
        width, threshold: see `labeller_skills`.   min_labellers: below which a site is marked as not `enough`.
        dependence: how far labellers err together, in [0, 1]; None chooses it on the expert's items. For "bayes" only.
        random_state: of that choice.

    Items that the expert has drawn get what the labellers say, not the expert's mask.

    Raises:
        LabelError: masks of different sizes, values that are no class, one labeller only.   DataError: masks in no known form,
        expert masks of other items.   OptionError: an unknown method, a threshold or dependence outside [0, 1].

    >>> square = np.zeros((6, 6), int); square[1:4, 1:4] = 1
    >>> masks = {f"site {i}": {"ann": square, "bob": square, "eve": 1 - square} for i in range(5)}
    >>> found = aggregate_masks(masks, expert={f"site {i}": square for i in range(3)})
    >>> (found["site 4"].label == square).all(), found.labellers["score"].to_pylist()[0]
    (np.True_, 1.0)
    """
    check_option("method", method, ("bayes", "share"))
    check_option("voters", voters, ("all", "trusted", "best", "worst"))
    check_whole("min_labellers", min_labellers, 1)
    check_whole("random_state", random_state, 0)
    if dependence is not None and not 0 <= dependence <= 1:
        raise OptionError(
            found=f"dependence={dependence!r}",
            expected="a number from 0 (independent) to 1 (all say the same)",
            fix="pass dependence=None to choose it on the expert's items",
        )
    drawn = DrawnMasks(masks, labellers, items, space)
    skills = labeller_skills(drawn, expert or {}, background=background, width=width, threshold=threshold)
    notes = list(skills.notes)
    if not len(skills.tasks) and method == "bayes":
        method = "share"
        notes.append("without expert masks the consensus is a share of votes, and its risk no probability of an error")
    fitted: dict[str, float] = {}
    if method == "bayes":
        if dependence is None:
            dependence, fitted = fit_dependence(
                drawn, expert_answers(expert or {}, drawn), skills, random_state=random_state
            )
        tables, prior = bayes_tables(skills.confusion()), skills.prior()
        merge = _Merge(drawn, skills, tables, prior, dependence, voters)
    else:
        merge = _Merge(drawn, skills, share_tables(skills), None, 0.0, voters)
        score, recall = skills.filled()
        if not (score[:, None] * recall).any():
            notes.append("all weights are 0: the labellers count alike")
    sites = _sites(merge, min_labellers)
    few = len(sites) - sum(sites["enough"].to_pylist())
    if few:
        notes.append(f"{few} items have fewer than {min_labellers} labellers: their risk tells little")
    settings = {
        "method": method, "voters": voters, "background": background, "width": width, "threshold": threshold,
        "min_labellers": min_labellers, "items": len(drawn), "expert_items": len(skills.items),
        "dependence": merge.dependence if method == "bayes" else None, **{f"dependence_{n}": v for n, v in fitted.items()},
    }  # fmt: skip
    return MaskAggregation(sites, skills.table, skills, drawn.space, notes, settings, merge)


def _sites(merge: _Merge, min_labellers: int) -> pa.Table:
    """One pass over the images, of which only these numbers are kept."""
    import pyarrow as pa

    rows = []
    for item in merge.drawn.items:
        found, said = merge.of(item)
        risk = found.risk[np.isfinite(found.risk)]
        low = np.where(said == -1, np.iinfo(said.dtype).max, said).min(0)
        high = np.where(said == -1, np.iinfo(said.dtype).min, said).max(0)
        known = (said != -1).any(0)
        rows.append(
            {
                "item": item,
                "labellers": len(said),
                "mean_risk": float(risk.mean()) if len(risk) else None,
                "risky": float((risk > RISKY).mean()) if len(risk) else None,
                "agreement": float((low == high)[known].mean()) if known.any() else None,
                "enough": len(said) >= min_labellers,
            }
        )
    return pa.Table.from_pylist(rows)
