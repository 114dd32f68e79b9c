"""The command line as its user meets it."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_iris

from labelwright.cli.main import main

NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture(scope="module")
def iris():
    x, y = load_iris(return_X_y=True)
    wrong = np.array([3, 33, 70, 90, 120])
    given = y.copy()
    given[wrong] = (given[wrong] + 1) % 3
    columns = {f"f{i}": x[:, i] for i in range(4)}
    return pa.table({"key": [f"i{i}" for i in range(150)], "species": NAMES[given], **columns}), NAMES[y], wrong


@pytest.fixture
def here(tmp_path, monkeypatch, iris):
    monkeypatch.chdir(tmp_path)
    pq.write_table(iris[0], "iris.parquet")
    return tmp_path


def run(monkeypatch, capsys, *arguments):
    """(exit status, stdout, stderr) of the command."""
    monkeypatch.setattr(sys, "argv", ["labelwright", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def test_audit_review_audit(here, iris, monkeypatch, capsys):
    code, out, err = run(
        monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", "--review-size", 60, "--json"
    )
    assert code == 0, err
    figures = json.loads(out.splitlines()[-1])
    assert figures["items"] == 150 and figures["classes"] == NAMES.tolist()
    assert "label: column 'species'" in err and "review_sample" in err
    repo = here / "iris.labels"
    flagged = pq.read_table(repo / "issues.parquet")
    assert set(flagged["item"].to_pylist()) >= {"i3", "i33"}
    assert (repo / "report.html").read_text().startswith("<!DOCTYPE html>")

    sample = pq.read_table(repo / "audits/0001/review_sample.parquet")
    assert sample.num_rows == 60
    truth = iris[1][np.asarray(sample["row"])]
    pq.write_table(sample.append_column("label", pa.array(truth)), "answers.parquet")
    code, out, err = run(
        monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", "--reviews", "answers.parquet", "--json"
    )
    assert code == 0, err
    again = json.loads(out.splitlines()[-1])
    assert again["error_rate"]["n_reviewed"] == 60 and again["audit"] == "0002"
    assert again["error_rate"]["low"] <= 5 / 150 <= again["error_rate"]["high"]
    assert (repo / "audits/0001/summary.json").exists()


def test_the_form_that_is_filled_in_is_a_csv(here, iris, monkeypatch, capsys):
    run(monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", "--review-size", 20)
    lines = (here / "iris.labels/audits/0001/review_sample.csv").read_text().splitlines()
    truth = dict(zip(iris[0]["key"].to_pylist(), iris[1]))
    assert lines[0].replace('"', "") == "item,label,given,content,probability"
    for row in range(1, 11):  # ten of twenty answered: stopping early is fine
        item = lines[row].split(",")[0].strip('"')
        lines[row] = lines[row].replace('""', f'"{truth[item]}"', 1)
    (here / "answers.csv").write_text("\n".join(lines))
    code, out, err = run(
        monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", "--reviews", "answers.csv", "--json"
    )
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["error_rate"]["n_reviewed"] == 10


def test_predictions_are_computed_once(here, monkeypatch, capsys):
    run(monkeypatch, capsys, "audit", "iris.parquet", "--label", "species")
    cache = list((here / "iris.labels/cache").glob("*.npy"))
    assert len(cache) == 1
    stamp = cache[0].stat().st_mtime_ns
    run(monkeypatch, capsys, "audit", "iris.parquet", "--label", "species")
    assert [p.stat().st_mtime_ns for p in (here / "iris.labels/cache").glob("*.npy")] == [stamp]
    run(monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", "--seed", 1)
    assert len(list((here / "iris.labels/cache").glob("*.npy"))) == 2


@pytest.mark.parametrize("goal", [("--budget", "7"), ("--precision", "0.9"), ("--recall", "0.5")])
def test_goals_of_the_flags(goal, here, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", *goal, "--json")
    figures = json.loads(out.splitlines()[-1])
    assert code == 0
    if goal[0] == "--budget":
        assert figures["issues"] == 7
    if goal[0] == "--precision":
        assert figures["expected_precision"] >= 0.9 or figures["issues"] == 0
    if goal[0] == "--recall":
        assert figures["expected_recall"] >= 0.5


def test_files_of_probabilities_vectors_and_classes(here, iris, monkeypatch, capsys):
    np.save("p.npy", np.eye(3)[np.searchsorted(NAMES, iris[1])] * 0.7 + 0.1)
    np.save("x.npy", np.column_stack([iris[0][f"f{i}"] for i in range(4)]))
    (here / "tree.csv").write_text(
        "child,parent\nsetosa,small\nversicolor,large\nvirginica,large\nsmall,iris\nlarge,iris\n"
    )
    code, out, err = run(
        monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", "--id", "key", "--pred-probs", "p.npy",
        "--features", "x.npy", "--hierarchy", "tree.csv", "--out", "other.labels", "--json",
    )  # fmt: skip
    assert code == 0, err
    figures = json.loads(out.splitlines()[-1])
    assert figures["repository"] == "other.labels"
    assert figures["settings"]["rank_by"] == "cost" and figures["settings"]["pred_probs"] == "given"
    severity = pq.read_table("other.labels/audits/0001/items.parquet")["severity"].to_numpy()
    assert severity.max() > 1  # edges in the tree, not probabilities


def test_prefix_of_columns(here, iris, monkeypatch, capsys):
    code, out, err = run(
        monkeypatch, capsys, "audit", "iris.parquet", "--label", "species", "--features", "f", "--json"
    )
    assert code == 0, err
    assert "vectors, 4 columns" in json.loads(out.splitlines()[-1])["settings"]["features"]


def test_multi(here, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    tags = ["|".join(n for n, v in zip("abc", row) if v > 0) for row in x]
    pq.write_table(pa.table({"tags": tags, **{f"v{i}": x[:, i] for i in range(3)}}), "tags.parquet")
    code, out, err = run(
        monkeypatch, capsys, "audit", "tags.parquet", "--label", "tags", "--multi", "--features", "v", "--json"
    )
    assert code == 0, err
    figures = json.loads(out.splitlines()[-1])
    assert figures["multi"] and figures["classes"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["iris.parquet", "--label", "specis"], "species"),
        (["nothing.csv"], "nothing.csv"),
        (["iris.parquet", "--label", "species", "--precision", "2"], "precision"),
        (["iris.parquet", "--label", "species", "--precision", "0.9", "--recall", "0.9"], "at most one"),
        (["iris.parquet", "--label", "species", "--pred-probs", "nothing.npy"], "nothing.npy"),
        (["junk.parquet"], "parquet"),
        (["iris.parquet", "--label", "species", "--out", "foreign"], "foreign"),
    ],
)
def test_errors_are_one_paragraph(arguments, hint, here, monkeypatch, capsys):
    (here / "junk.parquet").write_text("label,text\na,b\n")
    (here / "foreign").mkdir()
    (here / "foreign/precious.txt").write_text("mine")
    before = sorted(p.name for p in here.iterdir())
    code, _, err = run(monkeypatch, capsys, "audit", *arguments)
    assert code == 2 and hint in err and "Traceback" not in err
    assert "expected" in err and "fix" in err
    after = sorted(p.name for p in here.iterdir())
    assert [n for n in after if n != "iris.labels"] == before
    assert (here / "foreign/precious.txt").read_text() == "mine"
    assert not list((here / "iris.labels/audits").glob("*"))  # no half audit, whether or not the repository was made


def test_other_data_under_the_same_name_is_refused(here, iris, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "audit", "iris.parquet", "--label", "species")[0] == 0
    pq.write_table(iris[0].slice(0, 100), "iris.parquet")
    code, _, err = run(monkeypatch, capsys, "audit", "iris.parquet", "--label", "species")
    assert code == 2 and "--out" in err
    assert len(list((here / "iris.labels/audits").iterdir())) == 1


def test_version_and_module_start_light():
    out = subprocess.run([sys.executable, "-m", "labelwright", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout.startswith("labelwright 0.")


def test_import_is_light():
    code = (
        "import sys, time; start = time.process_time(); import labelwright; seconds = time.process_time() - start; "
        "print(seconds, *(int(l.split()[1]) / 1024 for l in open('/proc/self/status') if l.startswith('VmHWM'))); "
        "print([m for m in ('scipy', 'sklearn', 'pyarrow', 'pandas', 'polars', 'torch', 'lance', 'narwhals', 'typer') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    seconds, mib = map(float, out[0].split())
    assert out[1] == "[]"
    assert seconds < 0.3 and mib < 80


def test_every_public_name_resolves():
    import labelwright as lw

    assert all(getattr(lw, name) is not None for name in lw.__all__)
    with pytest.raises(AttributeError, match="no attribute 'audti'"):
        lw.audti  # noqa: B018
