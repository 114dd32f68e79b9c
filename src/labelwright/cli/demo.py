"""`labelwright demo`: the whole story on scikit-learn's digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer

from labelwright.cli.audit import tell
from labelwright.cli.console import say

NOISE_RATE = 0.08
LOOKALIKE = {0: 6, 6: 0, 1: 7, 7: 1, 2: 3, 3: 8, 8: 3, 4: 9, 9: 4, 5: 6}  # the digit each is most easily taken for
N_REVIEW = 100


def demo(
    out: Path = typer.Option(Path("digits.labels"), help="Label repository to write."),
    seed: int = typer.Option(0, min=0, help="Seed of the corruption, the folds and the review."),
    as_json: bool = typer.Option(False, "--json", help="Last line of stdout: one JSON object with every figure."),
) -> None:
    """Plant errors in bundled data, find them, review a sample, mend the labels, and see what that is worth."""
    if as_json:
        say.quiet_stdout()
    figures = run(out, seed)
    if as_json:
        print(json.dumps(figures))


def run(out: Path, seed: int) -> dict[str, Any]:
    """The demo; returns its figures."""
    import pyarrow as pa
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    import labelwright as lw
    from labelwright.auditing._record import record_audit
    from labelwright.store import Repository, fingerprint

    x, y = load_digits(return_X_y=True)
    x, x_test, truth, y_test = train_test_split(x, y, test_size=450, stratify=y, random_state=seed)
    given, planted = corrupt(truth, seed)
    say.print(
        f"[bold]{len(x):,} digits[/] from scikit-learn, {planted.sum()} of their labels ({planted.mean():.1%}) made wrong "
        f"(seed {seed}): three in four became the digit they are most easily taken for (3 an 8, 4 a 9, 1 a 7, …), "
        "the others any digit."
    )
    names = np.array([str(d) for d in range(10)])
    table = pa.table({"label": names[given], **{f"pixel_{i}": x[:, i] for i in range(64)}})
    space = lw.LabelSpace(names.tolist())
    repo = Repository.open_or_create(
        out, fingerprint=fingerprint(table), source="scikit-learn digits", space=json.loads(space.to_json())
    )
    with say.progress() as progress:
        first = lw.audit(names[given], features=x, space=space, random_state=seed, progress=progress)
    tell(first, top=5)

    sample = first.review_sample(N_REVIEW, seed)
    rows = np.asarray(sample["row"])
    reviews = sample.append_column("label", pa.array(names[truth[rows]]))
    say.print(f"\n[bold]A reviewer answers the {N_REVIEW} items of the review sample[/] (simulated: the true digit)")
    second = lw.audit(
        names[given], first.pred_probs, features=x, space=space, reviews=reviews, random_state=seed, n_folds=5
    )
    tell(second, top=0)

    pixels = np.kron((x.reshape(-1, 8, 8) * 15.9).astype(np.uint8), np.ones((6, 6), dtype=np.uint8))
    folder = repo.write_audit(second.files(content=list(255 - pixels), n_review=N_REVIEW, seed=seed))
    record_audit(repo, second, audit=folder.name, reviews=reviews)
    figures = _outcome(second, given, truth, planted, (x, x_test, y_test))
    figures |= {"seed": seed, "repository": str(repo.path), "audit": folder.name, "summary": second.summary()}
    _print_outcome(figures)
    return figures


def corrupt(truth: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(given labels, planted errors): 8 % of the labels, three in four to the look-alike, else uniform over the others."""
    rng = np.random.default_rng(seed)
    planted = np.zeros(len(truth), dtype=bool)
    planted[rng.choice(len(truth), round(NOISE_RATE * len(truth)), replace=False)] = True
    near = np.array([LOOKALIKE[int(t)] for t in truth])
    anywhere = (truth + rng.integers(1, 10, len(truth))) % 10
    wrong = np.where(rng.random(len(truth)) < 0.75, near, anywhere)
    return np.where(planted, wrong, truth), planted


def _outcome(result: Any, given: np.ndarray, truth: np.ndarray, planted: np.ndarray, data: Any) -> dict[str, Any]:
    x, x_test, y_test = data
    mended = result.corrected().ids
    found = result.is_issue & planted
    accuracy = {
        name: _accuracy(x, labels, x_test, y_test)
        for name, labels in (("given", given), ("corrected", mended), ("true", truth))
    }
    return {
        "planted": int(planted.sum()),
        "flagged": int(result.is_issue.sum()),
        "found": int(found.sum()),
        "wrong_before": int(planted.sum()),
        "wrong_after": int((mended != truth).sum()),
        "accuracy": accuracy,
    }


def _accuracy(x: np.ndarray, labels: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    """Of a nearest-neighbour model, which takes every label at its word."""
    from sklearn.neighbors import KNeighborsClassifier

    return float(KNeighborsClassifier(1).fit(x, labels).score(x_test, y_test))


def _print_outcome(f: dict[str, Any]) -> None:
    accuracy = f["accuracy"]
    say.print(
        f"\n[bold green]found {f['found']} of the {f['planted']} planted errors[/] among {f['flagged']} flagged items; "
        f"wrong labels: {f['wrong_before']} before, {f['wrong_after']} after"
    )
    say.print(
        f"test accuracy of a 1-nearest-neighbour model: {accuracy['given']:.1%} on the given labels, "
        f"[bold]{accuracy['corrected']:.1%} on the corrected ones[/] ({accuracy['true']:.1%} on the true ones)"
    )
    say.print(
        f"written to [bold]{say.plain(f['repository'])}[/]: report.html, issues.parquet, items.parquet, summary.json"
    )
    say.print(
        f"next: [bold]labelwright review {say.plain(f['repository'])}[/] opens the review app, where people settle the rest "
        '(pip install "labelwright\\[web]")'
    )
