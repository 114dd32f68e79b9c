"""Wrong tags planted into real sentences, and real ones of a crowd: our rankings against cleanlab's on the same predictions.

    python benchmarks/audit_tokens.py --peer-python PYTHON_WITH_CLEANLAB --data FOLDER [--cache FOLDER] [--seeds 5]

Sets:
    wnut17       5690 sentences, 101857 tokens, 13 BIO tags of experts, in which faults are planted:
                 drop      10 % of the entities become O
                 type      10 % get another of the six types
                 boundary  10 % move one edge by one token, in or out, every possible move alike
                 spurious  as many entities of one or two tokens and a random type as 10 % are put on words outside entities
                 mixed     all four, 5 % each
    crowd_pos    1000 stretches, 14439 tokens, 12 parts of speech; truth: experts. Nothing is planted:
                 majority  given = the commonest vote (first in the order of the classes where tied); there is no seed
                 one_vote  given = one vote per token, drawn at random

Every model sees the given tags only: the built-in tagger predicts them out of fold, and `audit_tokens` and cleanlab 2.9 read
these same arrays. Sentence scores of cleanlab: three token scores x (min, softmin); the best of the six, and of the three
token scores, is chosen per case and seed in hindsight; its defaults (self_confidence, min) stand beside it. A planted fault is
the only error counted in wnut17: mistakes that its experts made count as false alarms, on both sides.
Constants were chosen on wnut17 and crowd_pos with seeds 100 to 102, with `majority` in sight: as data neither set is unseen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).resolve().parent / "results" / "tokens.json"
TYPES = ("corporation", "creative-work", "group", "location", "person", "product")
KINDS = ("drop", "type", "boundary", "spurious", "mixed")
WORDS = {"drop": "missed entity", "type": "wrong type", "boundary": "wrong boundary", "spurious": "spurious entity"}
TOKEN_SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
SENTENCE_SCORES = ("min", "softmin")


# ------------------------------------------------------------------------------------------------------------------ faults
def entities(tags: list[str]) -> list[tuple[int, int, str]]:
    """(start, stop, type) of legal BIO tags."""
    out: list[tuple[int, int, str]] = []
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            out.append((i, i + 1, tag[2:]))
        elif tag != "O":
            out[-1] = (out[-1][0], i + 1, out[-1][2])
    return out


def write(tags: list[str], start: int, stop: int, name: str) -> None:
    tags[start:stop] = [f"B-{name}"] + [f"I-{name}"] * (stop - start - 1)


def plant(tags: list[list[str]], tokens: list[list[str]], kind: str, seed: int) -> list[list[str]]:
    """The tags with faults of one kind, or of all (mixed)."""
    rng = np.random.default_rng(seed)
    given = [list(sentence) for sentence in tags]
    found = [(i, *entity) for i, sentence in enumerate(tags) for entity in entities(sentence)]
    wanted = round((0.05 if kind == "mixed" else 0.10) * len(found))
    victims = (found[i] for i in rng.permutation(len(found)))
    for fault in KINDS[:4] if kind == "mixed" else (kind,):
        done = 0
        while done < wanted:
            if fault == "spurious":
                done += put_one(tags, given, tokens, rng)
            else:
                done += spoil(given, *next(victims), fault, rng)
    return given


def spoil(
    given: list[list[str]], i: int, start: int, stop: int, name: str, fault: str, rng: np.random.Generator
) -> bool:
    tags = given[i]
    if fault == "drop":
        tags[start:stop] = ["O"] * (stop - start)
    elif fault == "type":
        write(tags, start, stop, str(rng.choice([t for t in TYPES if t != name])))
    else:
        moves = [(start - 1, stop)] if start > 0 and tags[start - 1] == "O" else []
        moves += [(start, stop + 1)] if stop < len(tags) and tags[stop] == "O" else []
        moves += [(start + 1, stop), (start, stop - 1)] if stop - start > 1 else []
        if not moves:
            return False
        tags[start:stop] = ["O"] * (stop - start)
        write(tags, *moves[rng.integers(len(moves))], name)
    return True


def put_one(tags: list[list[str]], given: list[list[str]], tokens: list[list[str]], rng: np.random.Generator) -> bool:
    i, size = int(rng.integers(len(tags))), int(rng.integers(1, 3))
    start = int(rng.integers(len(tags[i])))
    stop = start + size
    words = all(any(c.isalnum() for c in token) for token in tokens[i][start:stop])
    free = set(tags[i][start:stop]) | set(given[i][start:stop]) == {"O"} and stop <= len(tags[i])
    if not words or not free or any(tag.startswith("I-") for tag in given[i][stop : stop + 1]):
        return False
    write(given[i], start, stop, str(rng.choice(TYPES)))
    return True


# ------------------------------------------------------------------------------------------------------------------- cases
def cases(data: Path, seeds: range) -> Iterator[tuple[str, int, list[list[str]], list[list[str]], list[list[str]]]]:
    """(case, seed, tokens, true tags, given tags)."""
    import pyarrow.parquet as pq

    table = pq.read_table(data / "ner_wnut17" / "wnut17.parquet")
    tokens, tags = table["tokens"].to_pylist(), table["tags"].to_pylist()
    for kind in KINDS:
        for seed in seeds:
            yield f"wnut17 {kind}", seed, tokens, tags, plant(tags, tokens, kind, seed)
    table, votes = pq.read_table(data / "crowd_pos" / "tokens.parquet"), np.load(data / "crowd_pos" / "votes.npz")
    cut = np.cumsum(np.bincount(table["sentence"].to_numpy()))[:-1]
    names, item, label = votes["classes"], votes["item"], votes["label"]

    def split(values: np.ndarray) -> list[list[str]]:
        return [part.tolist() for part in np.split(np.asarray(values, dtype=object), cut)]

    tokens, truth = split(np.array(table["token"].to_pylist(), dtype=object)), split(names[votes["truth"]])
    count = np.zeros((table.num_rows, len(names)))
    np.add.at(count, (item, label), 1)
    yield "crowd_pos majority", 0, tokens, truth, split(names[count.argmax(1)])
    for seed in seeds:
        order = np.lexsort((np.random.default_rng(seed).random(len(item)), item))
        first = np.unique(item[order], return_index=True)[1]
        yield "crowd_pos one_vote", seed, tokens, truth, split(names[label[order][first]])


def predictions(tokens: list[list[str]], given: list[list[str]], space: list[str], cache: Path | None) -> np.ndarray:
    """(sum T, K) of the built-in tagger."""
    from labelwright.auditing.tokens import _predict
    from labelwright.auditing.tokens.inputs import read_sentences

    if cache is not None and cache.exists():
        return np.load(cache)
    p = _predict(read_sentences(given, None, tokens=tokens, space=space, items=None), None, 5, 0, lambda *_: None)
    if cache is not None:
        np.save(cache, p)
    return p


# ------------------------------------------------------------------------------------------------------------------- sides
def run_peer(source: str, target: str) -> None:
    """In the peer's environment: every score of cleanlab, its filter, and what they cost."""
    warnings.simplefilter("ignore")
    from cleanlab.token_classification.filter import find_label_issues
    from cleanlab.token_classification.rank import get_label_quality_scores

    data, out = np.load(source), {}
    lengths = data["lengths"]
    cut = np.cumsum(lengths)[:-1]
    labels, p = [part.tolist() for part in np.split(data["given"], cut)], np.split(data["pred_probs"], cut)
    for token_score in TOKEN_SCORES:
        for sentence_score in SENTENCE_SCORES:
            start = time.process_time()
            sentence, token = get_label_quality_scores(
                labels, p, token_score_method=token_score, sentence_score_method=sentence_score
            )
            out[f"cpu {token_score} {sentence_score}"] = time.process_time() - start
            out[f"sentence {token_score} {sentence_score}"] = sentence
        out[f"token {token_score}"] = np.concatenate([series.to_numpy() for series in token])
    start = time.process_time()
    issues = find_label_issues(labels, p, n_jobs=1)
    out["cpu filter"] = time.process_time() - start
    begin = np.cumsum(lengths) - lengths
    out["flags"] = np.zeros(len(data["given"]), dtype=bool)
    out["flags"][[begin[i] + j for i, j in issues]] = True
    np.savez(target, **out)


def found(flags: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    hit = float((flags & wrong).sum())
    return {
        "precision": hit / max(flags.sum(), 1),
        "recall": hit / wrong.sum(),
        "f1": 2 * hit / (flags.sum() + wrong.sum()),
    }


def compare(
    name: str, seed: int, tokens: Any, truth: Any, given: Any, peer_python: str, cache: Path | None
) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    from labelwright.auditing.tokens import audit_tokens

    space = sorted({tag for sentence in truth + given for tag in sentence})
    lengths = np.array([len(sentence) for sentence in given])
    kept = None if cache is None else cache / f"{name.replace(' ', '_')}_{seed}.npy"
    fresh, start = kept is None or not kept.exists(), time.process_time()
    p = predictions(tokens, given, space, kept)
    tagger = time.process_time() - start if fresh else None
    start = time.process_time()
    audit = audit_tokens(given, p, space=space)
    cpu = time.process_time() - start
    wrong = np.array([a != b for s, t in zip(given, truth, strict=True) for a, b in zip(s, t, strict=True)])
    bad = np.add.reduceat(wrong, np.cumsum(lengths) - lengths) > 0
    flags = audit.parts["is_issue"].to_numpy(zero_copy_only=False)
    with tempfile.TemporaryDirectory() as scratch:
        source, target = os.path.join(scratch, "in.npz"), os.path.join(scratch, "out.npz")
        ids = np.array([space.index(tag) for sentence in given for tag in sentence])
        np.savez(source, given=ids, pred_probs=p, lengths=lengths)
        subprocess.run([peer_python, __file__, "--as-peer", source, target], check=True)
        peer = dict(np.load(target))
    truths = {"token": wrong, "sentence": bad}
    ap = {
        f"{what} {rest}": float(average_precision_score(truths[what], -scores))
        for (what, _, rest), scores in ((key.partition(" "), scores) for key, scores in peer.items())
        if what in truths
    }
    quality = audit.parts["quality"].to_numpy()
    words = audit.parts["problem"].to_numpy(zero_copy_only=False)[flags & wrong]
    return {
        "case": name, "seed": seed, "tokens": len(wrong), "wrong_tokens": int(wrong.sum()), "wrong_sentences": int(bad.sum()),
        "token_ap": float(average_precision_score(wrong, -quality)),
        "sentence_ap": float(average_precision_score(bad, -audit.quality)),
        "peer_token_ap": max(v for k, v in ap.items() if k.startswith("token")),
        "peer_sentence_ap": max(v for k, v in ap.items() if k.startswith("sentence")),
        "peer_token_default": ap["token self_confidence"], "peer_sentence_default": ap["sentence self_confidence min"],
        "peer": ap, "expected_wrong": float((1 - quality).sum()),
        "flags": found(flags, wrong), "peer_flags": found(peer["flags"], wrong),
        "right_word": float(np.mean(words == WORDS[name.split()[1]])) if name.split()[1] in WORDS and len(words) else None,
        "cpu": cpu, "cpu_tagger": tagger, "peer_cpu": float(peer["cpu self_confidence min"] + peer["cpu filter"]),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Means over seeds, the least gap, and in how many seeds ours is at least cleanlab's best."""
    by_case = defaultdict(list)
    for row in rows:
        by_case[row["case"]].append(row)
    head = (
        "token AP",
        "best",
        "default",
        "least gap",
        "sent. AP",
        "best",
        "default",
        "least gap",
        "F1",
        "peer",
        "word",
        "CPU s",
        "peer",
    )
    out = [" ".join([f"{'case':20}", *(f"{h:>9}" for h in head)])]
    for name, group in by_case.items():

        def mean(key: str, group: list[dict[str, Any]] = group) -> float:
            return float(np.mean([np.nan if r[key] is None else r[key] for r in group]))

        gap = {k: min(r[f"{k}_ap"] - r[f"peer_{k}_ap"] for r in group) for k in ("token", "sentence")}
        f1, peer_f1 = (np.mean([r[k]["f1"] for r in group]) for k in ("flags", "peer_flags"))
        cells = []
        for what in ("token", "sentence"):
            keys = (f"{what}_ap", f"peer_{what}_ap", f"peer_{what}_default")
            cells += [f"{mean(key):9.4f}" for key in keys] + [f"{gap[what]:+9.4f}"]
        cells += [f"{v:9.3f}" for v in (f1, peer_f1, mean("right_word"), mean("cpu"), mean("peer_cpu"))]
        out.append(" ".join([f"{name:20}", *cells]))
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of an environment with cleanlab")
    parser.add_argument("--data", type=Path, help="folder with ner_wnut17 and crowd_pos")
    parser.add_argument("--cache", type=Path, help="folder that keeps the predictions between runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--first-seed", type=int, default=0, help="100 for choosing constants; nothing is recorded then"
    )
    parser.add_argument("--as-peer", nargs=2, metavar=("IN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peer:
        run_peer(*options.as_peer)
        return
    if not options.peer_python or not options.data:
        parser.error("--peer-python and --data are needed")
    warnings.simplefilter("ignore")
    if options.cache is not None:
        options.cache.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases(options.data, range(options.first_seed, options.first_seed + options.seeds)):
        rows.append(compare(*case, options.peer_python, options.cache))
        r = rows[-1]
        pairs = (f"{w} {r[f'{w}_ap']:.4f} / {r[f'peer_{w}_ap']:.4f}" for w in ("token", "sentence"))
        print(f"{r['case']} {r['seed']}: {', '.join(pairs)}", flush=True)
    print(table(rows))
    if options.first_seed == 0:
        RESULT.write_text(json.dumps(rows, indent=1) + "\n")
        sys.stdout.write(f"recorded in {RESULT}\n")


if __name__ == "__main__":
    main()
