"""Write docs/benchmarks.md from the recorded results.

python benchmarks/page.py        # reads benchmarks/results/*.json, made by the scripts beside it
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"


def ranking(rows: list[dict[str, Any]]) -> str:
    """AP and F1 against cleanlab's best."""
    out = [
        "| case | AP | cleanlab's best score | F1 | better of cleanlab's filter and prediction ≠ label "
        "| F1, 200 reviews | count ÷ truth | with reviews | cleanlab |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        out.append(
            f"| {r['case']} | {r['ap']:.4f} | {r['peer_ap']:.4f} ({r['ap'] - r['peer_ap']:+.4f}) | {r['f1']:.4f} "
            f"| {r['peer_f1']:.4f} ({r['f1'] - r['peer_f1']:+.4f}) "
            f"| {r['f1_reviewed']:.4f} ({r['f1_reviewed'] - r['peer_f1']:+.4f}) "
            f"| {r['count']:.2f} | {r['count_reviewed']:.2f} | {r['peer']['count']:.2f} |"
        )
    gaps = {
        k: np.array([r[k] - r[p] for r in rows])
        for k, p in (("ap", "peer_ap"), ("f1", "peer_f1"), ("f1_reviewed", "peer_f1"))
    }
    said = ", ".join(
        f"{name} {gaps[k].mean():+.4f} (least {gaps[k].min():+.4f}, {rows[int(gaps[k].argmin())]['case']})"
        for k, name in (("ap", "AP"), ("f1", "F1"), ("f1_reviewed", "F1 with 200 reviews"))
    )
    return "\n".join(out) + f"\n\nMean gaps: {said}.\n"


def sources(rows: list[dict[str, Any]]) -> str:
    """AP of both sources and of each alone."""
    out = ["| case | both | probabilities alone | neighbours alone |", "| --- | ---: | ---: | ---: |"]
    out += [
        f"| {r['case']} | {r['ap']:.4f} | {r['ap_probs']:.4f} | {r['ap_neighbours']:.4f} |"
        for r in rows
        if "ap_probs" in r
    ]
    return "\n".join(out) + "\n"


def counts(rows: list[dict[str, Any]]) -> str:
    """Error, coverage and width of the count."""
    out = [
        "| case | true rate | median error | coverage of the 90 % interval | mean width | ÷ oracle, normal interval "
        "| ÷ oracle, our interval | Clopper-Pearson, simple random sample |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        ratio = f"{r['width'] / r['oracle']:.2f}" if r["oracle"] > 1e-4 else "oracle is 0" if r["width"] > 0 else "–"
        same = f"{r['width'] / r['same']:.2f}" if r["same"] > 1e-4 else "–"
        out.append(
            f"| {r['case']} | {r['rate']:.3f} | {r['error']:.3f} | {r['cover']:.3f} | {r['width']:.4f} | {ratio} | {same} "
            f"| {r['srs']:.4f} |"
        )
    return "\n".join(out) + "\n"


def structures(rows: list[dict[str, Any]]) -> str:
    """Several labels, ordered classes, hierarchies."""
    out = ["| case | entries | items | cost in the first 10 % | CPU s |", "| --- | ---: | ---: | ---: | ---: |"]
    for r in rows:
        cells = [
            f"{r['ours'][k]:.3f} ({r['cleanlab'][k]:.3f})" if k in r["ours"] else ""
            for k in ("entries", "items", "cost found", "seconds")
        ]
        out.append(f"| {r['case']} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def tokens(rows: list[dict[str, Any]]) -> str:
    """Tokens and sentences, against cleanlab's default and its best score with hindsight."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for r in rows:
        cases.setdefault(r["case"], []).append(r)
    out = ["| case | token AP | sentence AP |", "| --- | ---: | ---: |"]
    for case, runs in cases.items():
        cells = []
        for what in ("token", "sentence"):
            mean = {
                key: float(np.mean([r[key] for r in runs]))
                for key in (f"{what}_ap", f"peer_{what}_default", f"peer_{what}_ap")
            }
            ours, default, best = mean.values()
            cells.append(f"{ours:.3f} ({default:.3f}, {best:.3f})")
        out.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def values(rows: list[dict[str, Any]]) -> str:
    """Numeric labels: mean and worst of all cases, and how many are below cleanlab's."""
    best = [max(r["cleanlab residual ap"], r["cleanlab outre ap"]) for r in rows]
    learn = [r["cleanlab learn ap"] for r in rows]
    out = [
        "| comparison | mean AP | least gap | cases below, of all | below by more than 0.005 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, arm, peer in (
        ("same predictions, against the better of residual and outre", "ranks", best),
        ("same predictions, ours with the features too", "ranks_features", best),
        ("end to end, against CleanLearning with the same estimator", "end_to_end", learn),
    ):
        gap = np.array([r[f"{arm} ap"] for r in rows]) - peer
        mean = float(np.mean([r[f"{arm} ap"] for r in rows]))
        out.append(
            f"| {name} | {mean:.3f} ({np.mean(peer):.3f}) | {gap.min():+.3f} | {int((gap < 0).sum())} of {len(rows)} "
            f"| {int((gap < -0.005).sum())} |"
        )
    return "\n".join(out) + "\n"


def masks(found: dict[str, Any]) -> str:
    """Images and pixels with planted faults."""
    out = [
        "| model, fault | image AP (softmin, num_pixel_issues) | pixel AP | pixel F1 of the flags |",
        "| --- | ---: | ---: | ---: |",
    ]
    out += [
        f"| {r['model']}, {r['case']} | {r['image_ap']:.3f} ({r['image_ap_softmin']:.3f}, {r['image_ap_num_pixel_issues']:.3f}) "
        f"| {r['pixel_ap']:.3f} ({r['pixel_ap_peer']:.3f}) | {r['pixel_f1']:.3f} ({r['pixel_f1_peer']:.3f}) |"
        for r in found["summary"]
    ]
    cpu = [float(np.mean([r[k] for r in found["summary"]])) for k in ("cpu", "cpu_softmin", "cpu_num_pixel_issues")]
    ours, peer = (found["peak_mib"][name] for name in ("ours", "cleanlab"))
    return "\n".join(out) + (
        f"\n\n{cpu[0]:.1f} CPU s (softmin {cpu[1]:.1f}, num_pixel_issues {cpu[2]:.1f}); peak memory {ours:.0f} MiB, mapped files "
        f"included (cleanlab {peer:.0f}).\n"
    )


def boxes(found: dict[str, Any]) -> str:
    """Pictures, boxes and missed objects with planted faults."""
    out = [
        "| detector, fault | picture AP | cleanlab's default | box AP | missed-object AP | F1 of the flags |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, case in found["cases"].items():
        cells = [
            f"{case[k]['ours']:.3f} ({case[k]['cleanlab best']:.3f})" if k in case else ""
            for k in ("image", "box", "missed")
        ]
        flags = f"{case['flags F1']['ours']:.3f} ({case['flags F1']['cleanlab']:.3f})"
        out.append(
            f"| {name} | {cells[0]} | {case['image']['cleanlab default']:.3f} | {cells[1]} | {cells[2]} | {flags} |"
        )
    return "\n".join(out) + "\n"


def crowds(found: dict[str, Any]) -> str:
    """Accuracy and log loss per set; those of the last columns are crowd-kit's."""
    names = {
        "vote_shares": "vote shares", "one_coin": "one coin", "dawid_skene": "Dawid-Skene", "glad": "GLAD", "mace": "MACE",
        "crowd-kit MajorityVote": "crowd-kit vote shares", "crowd-kit DawidSkene": "crowd-kit Dawid-Skene",
    }  # fmt: skip
    first = next(iter(found["real"].values()))
    shown = {key: name for key, name in names.items() if key in first}
    out = ["| set | " + " | ".join(shown.values()) + " |", "| --- |" + " ---: |" * len(shown)]
    for case in [*found["development"], *found["unseen"]]:
        row = found["real"][case]
        cells = [f"{row[key]['accuracy']:.3f}, {row[key]['nll']:.2f}" for key in shown]
        out.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def mixtures(found: dict[str, Any]) -> str:
    """`auto` against the best of the plain rivals, per set; and with everything chosen on the other sets."""
    out = [
        "| set | auto | best rival by accuracy | 90 % interval, points | crowd-kit's as it stops | 90 % interval, points "
        "| least log loss of the rivals | chosen on the others |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, row in found["auto"].items():
        other, stops = found["leave one set out"]["any"][case], row["as crowd-kit stops"]
        out.append(
            f"| {case} | {row['mix']['accuracy']:.3f}, {row['mix']['nll']:.3f} | {row['best by accuracy']} {row['accuracy']:.3f} "
            f"| {points(row['mix']['interval'])} | {stops['accuracy']:.3f} | {points(stops['interval'])} "
            f"| {row['least nll by']} {row['least nll']:.3f} "
            f"| {other['accuracy']:.3f}, {other['nll']:.3f} |"
        )
    return "\n".join(out) + "\n"


def points(interval: list[float]) -> str:
    low, high = (100 * x for x in interval)
    return f"{low:+.1f} to {high:+.1f}"


def speeds(found: dict[str, Any]) -> str:
    """CPU seconds of a model and of crowd-kit's, on made-up votes."""
    pairs = {"one_coin": "OneCoinDawidSkene", "dawid_skene": "DawidSkene", "glad": "GLAD", "mace": "MACE"}
    out = ["| votes | model | CPU s | crowd-kit's | times faster |", "| --- | --- | ---: | ---: | ---: |"]
    for size, row in found["made"].items():
        for ours, theirs in pairs.items():
            peer = row.get(f"crowd-kit {theirs}")
            if peer and ours in row:
                mine, other = row[ours]["cpu_s"], peer["cpu_s"]
                out.append(f"| {size} | {ours} | {mine:.2f} | {other:.2f} | {other / max(mine, 1e-3):.0f} |")
    return "\n".join(out) + "\n"


RULES = (
    "vote shares, as they are",
    "aggregate: vote_shares",
    "aggregate: dawid_skene",
    "snorkel LabelModel, 100 epochs",
    "snorkel LabelModel, 500 epochs",
    "label_model, dependencies=None",
    "label_model, abstentions='informative'",
    "label_model",
)


def rules(found: dict[str, Any]) -> str:
    """Real rules: accuracy, log loss and CPU seconds of a second run."""
    cases = [case for case in found if not case.startswith("planted")]
    out = ["| | " + " | ".join(case.split(" (")[0] for case in cases) + " |", "| --- |" + " ---: |" * len(cases)]
    for arm in RULES:
        rows = [found[case][arm] for case in cases]
        out.append(
            f"| {arm} | " + " | ".join(f"{r['all'][0]:.3f}, {r['all'][1]:.3f}, {r['seconds']:.3f}" for r in rows) + " |"
        )
    return "\n".join(out) + "\n"


def planted_rules(found: dict[str, Any]) -> str:
    """Planted rules: the same, means of the seeds, and the first run in a fresh process."""
    sizes: dict[str, list[dict[str, Any]]] = {}
    for case, row in found.items():
        if case.startswith("planted"):
            sizes.setdefault(case.removeprefix("planted, ").rpartition(", seed")[0], []).append(row)
    out = ["| | " + " | ".join(sizes) + " |", "| --- |" + " ---: |" * len(sizes)]
    for arm in RULES:
        if any(arm not in runs[0] for runs in sizes.values()):
            continue
        cells = []
        for runs in sizes.values():
            accuracy, nll = (np.mean([r[arm]["all"][i] for r in runs]) for i in (0, 1))
            first = f" ({runs[0][arm]['first']:.3f})" if "first" in runs[0][arm] else ""
            cells.append(f"{accuracy:.3f}, {nll:.3f}, {np.mean([r[arm]['seconds'] for r in runs]):.3f}{first}")
        out.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def classifier(found: dict[str, Any]) -> str:
    """Votes and a classifier: accuracy / AUROC of the consensus quality / log loss."""
    arms = ("classifier alone", "votes alone", "CROWDLAB", "with classifier")
    out = ["| votes | " + " | ".join(arms) + " |", "| --- |" + " ---: |" * len(arms)]
    for case, row in found.items():
        if isinstance(row, dict) and "CROWDLAB" in row:
            cells = [f"{row[arm]['accuracy']:.4f} / {row[arm]['auroc']:.4f} / {row[arm]['nll']:.4f}" for arm in arms]
            out.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def beyond(found: dict[str, Any]) -> str:
    """Votes read in passes and in memory."""
    out = ["| votes | arm | CPU s | s | MB | steps | accuracy |", "| ---: | --- | ---: | ---: | ---: | ---: | ---: |"]
    for arm, row in found["arms"].items():
        out.append(
            f"| {found['votes']:,} | {arm} | {row['cpu_s']:.0f} | {row['seconds']:.0f} | {row['memory'] / 1e6:,.0f} "
            f"| {row['steps']} | {row['accuracy']:.4f} |"
        )
    return "\n".join(out) + "\n"


def large(found: dict[str, Any]) -> str:
    """Ten million votes, in one line."""
    used, size = found["cpu_s"], found["extra_bytes_per_vote_at_most"]
    return f"{used:.0f} CPU s, {found['steps']} steps, at most {size:.0f} bytes per vote"


def training(found: dict[str, Any]) -> str:
    """The loop, the labels, and relabelling."""
    out = ["| case | bare, ms per step | ours | more |", "| --- | ---: | ---: | ---: |"]
    for r in found["overhead"]:
        more = r["ours_ms"] - r["bare_ms"]
        out.append(
            f"| {r['case']} | {r['bare_ms']:.2f} | {r['ours_ms']:.2f} | {more:+.2f} ms, {more / r['bare_ms']:+.1%} |"
        )
    ms = found["labels_ms"]
    told = ", ".join(f"{name} {value:.1f}" for name, value in ms.items())
    rate = found["items_per_second"]
    slower = {name: f"{ratio - 1:+.1%}" for name, ratio in found["labels_to_hard"].items()}
    return "\n".join(out) + (
        f"\n\nOne student of 1000 classes, ms per step: {told}. Stored top-5 labels cost {slower['stored top 5']} against hard "
        f"ones, {slower['stored top 5, batch by batch']} where the file is too large to be held and a compiled loop decodes each "
        "batch (medians of the ratio in each of 20 rounds).\n\n"
        f"Relabelling to a file: {found['relabel_to_teacher']:.0%} of the teacher's own throughput "
        f"({rate['relabel']:,.0f} of {rate['teacher alone']:,.0f} items per second in the best rounds).\n"
    )


def losses(found: dict[str, Any]) -> str:
    """Ratios of time and memory of each loss."""
    rows: dict[str, dict[tuple[int, int], dict[str, Any]]] = {}
    plain: dict[str, float] = {}
    sizes = ((256, 10), (4096, 10), (256, 1000), (4096, 1000))
    for r in found["losses"]:
        size = r["n"], r["k"]
        if not r["loss"].startswith("torch"):
            rows.setdefault(f"{r['loss']} | {r['rival']}", {})[size] = r
        elif size == sizes[-1]:
            plain[r["loss"]] = r["microseconds"]
    out = [
        "| loss | against | " + " | ".join(f"{n} x {k}" for n, k in sizes)
        + " | plain cross-entropy, 4096 x 1000 | MiB at 4096 x 1000, the other's |",
        "| --- | --- |" + " ---: |" * (len(sizes) + 2),
    ]  # fmt: skip
    for name, at in rows.items():
        ratios = " | ".join(f"{at[size]['ratio']:.2f}" if size in at else "–" for size in sizes)
        last = at.get(sizes[-1])
        told = "– | –" if last is None else f"{last['microseconds'] / plain[_plain(last)]:.2f} | {_mebibytes(last)}"
        out.append(f"| {name} | {ratios} | {told} |")
    return "\n".join(out) + "\n"


def _plain(row: dict[str, Any]) -> str:
    """torch's cross-entropy to the kind of target that a rival has, with no work beside it."""
    kinds = {"table": "ids", "smoothed": "ids", "teacher twice": "teacher"}
    kind = row["rival"].split(", ")[1]
    kind = kinds.get(kind, kind)
    return f"torch, {kind if kind in ('ids', 'soft') else 'teacher'}"


def _mebibytes(row: dict[str, Any]) -> str:
    own = row["peak_bytes"] / 2**20
    return f"{own:.0f}, {own / row['peak_ratio']:.0f}"


def report(found: dict[str, dict[str, float]]) -> str:
    """Seconds and size of the report."""
    rows = [
        f"| {name} | {r['report_s']:.1f} | {r['saved_s']:.1f} | {r['report_mb']:.1f} |" for name, r in found.items()
    ]
    return (
        "\n".join(["| audit | report, CPU s | all files, CPU s | report, MB |", "| --- | ---: | ---: | ---: |", *rows])
        + "\n"
    )


def review(desk: dict[str, Any], keys: dict[str, Any]) -> str:
    """The figures of the review app beside what they must not exceed."""
    slow = keys["key_to_next_item"][0]
    both = desk["answer"]["repair"]["both"]
    told = [
        ("key press to next item shown, 100,000 items queued, 95th percentile", f"{slow['p95_ms']:.0f} ms", "100 ms"),
        ("next item and answer, without a browser, 95th percentile", f"{both['p95_ms']:.1f} ms", "–"),
        ("100,000 items imported", f"{desk['answer']['import_s']:.1f} s", "30 s"),
        ("fresh repository opened", f"{desk['fresh']['open_fresh_s']:.1f} s", "2 s"),
    ]
    for name in ("csv", "jsonl", "parquet"):
        found = desk["export"][name]
        shown = f"{found['seconds']:.1f} s, {found['extra_mib']:.0f} MiB more"
        told.append((f"a million answers as {name.upper()}", shown, "10 s, 200 MiB"))
    for name, where in (("reviewers", "SQLite"), ("reviewers on PostgreSQL", "PostgreSQL")):
        r = desk[name]
        shown = f"{r['lost']} lost, {r['given_twice']} given twice, {r['errors']} errors"
        told.append((f"{r['reviewers']} reviewers at once, {r['answers']:,} answers, {where}", shown, "0, 0, 0"))
    rows = [f"| {what} | {found} | {most} |" for what, found, most in told]
    return "\n".join(["| what | measured | at most |", "| --- | ---: | ---: |", *rows]) + "\n"


def _result(name: str) -> Any:
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def main() -> None:
    """Fill the page's marked places."""
    errors = json.loads((HERE / "results" / "error_model.json").read_text())
    drawn = json.loads((HERE / "results" / "count.json").read_text())
    text = (HERE / "page.md").read_text()
    tables = {
        "RANKING": ranking(errors),
        "SOURCES": sources(errors),
        "COUNTS": counts(drawn),
        "STRUCTURES": structures(_result("structures")),
        "TOKENS": tokens(_result("tokens")),
        "VALUES": values(_result("values")),
        "MASKS": masks(json.loads((HERE / "results" / "masks.json").read_text())),
        "CROWDS": crowds(_result("crowd_models")),
        "MIXTURES": mixtures(_result("crowd_auto")),
        "SPEEDS": speeds(_result("crowd_models")),
        "RULES": rules(_result("label_model")),
        "PLANTED RULES": planted_rules(_result("label_model")),
        "CLASSIFIER": classifier(_result("crowd_with_classifier")),
        "LARGE": large(_result("crowd_models")["large"]),
        "REPORT": report(_result("report")),
        "REVIEW": review(_result("desk"), _result("review_latency")),
        "TRAINING": training(_result("training")),
        "LOSSES": losses(_result("losses")),
        "BEYOND": beyond(_result("crowd_streamed")),
        "BOXES": boxes(json.loads((HERE / "results" / "boxes.json").read_text())),
    }
    for mark, table in tables.items():
        text = text.replace(f"<!-- {mark} -->", table)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
