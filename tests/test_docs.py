"""The story on the first page runs as pasted, and the commands of the tutorial do what they say."""

import contextlib
import io
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), re.S)


def shape(text):
    """Output with its numbers blanked: they may differ in the last digit from one machine to the next."""
    return re.sub(r"\d[\d,.]*", "#", text).strip()


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/index.md",
        "docs/structures.md",
        "docs/tutorial-crowd.md",
        "docs/votes.md",
        "docs/tutorial-teacher.md",
    ],
)
def test_the_story_runs_as_pasted(page):
    code, output = blocks(page, "python")[0], blocks(page, "text")[0]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, page, "exec"), {})  # noqa: S102  our own page
    assert shape(out.getvalue()) == shape(output)


def test_the_first_page_is_the_readme_s_story():
    assert blocks("README.md", "python")[0] == blocks("docs/index.md", "python")[0]
    assert blocks("README.md", "text")[0] == blocks("docs/index.md", "text")[0]


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/tutorial-text.md", "docs/tutorial-images.md"])
def test_the_longer_tutorials(page, tmp_path, monkeypatch, capsys):
    from labelwright.cli.main import main

    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, code in re.findall(r"```(python|sh)\n(.*?)```", (ROOT / page).read_text(), re.S):
        if language == "python":
            exec(compile(code, page, "exec"), names)  # noqa: S102  our own page
            continue
        monkeypatch.setattr(sys, "argv", code.split())
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, capsys.readouterr().err


def test_what_works_shows_the_recorded_results():
    from labelwright.systems.page import what_works

    assert (ROOT / "docs/what-works.md").read_text().strip() == what_works().strip()


def test_the_tutorial(tmp_path, monkeypatch, capsys):
    from labelwright.cli.main import main

    monkeypatch.chdir(tmp_path)
    steps = re.findall(r"```(python|sh)\n(.*?)```", (ROOT / "docs/tutorial.md").read_text(), re.S)
    names: dict[str, object] = {}
    for language, code in steps:
        if language == "python":
            exec(compile(code, "tutorial.md", "exec"), names)  # noqa: S102  our own page
            continue
        for line in code.strip().splitlines():
            monkeypatch.setattr(sys, "argv", line.split())
            with pytest.raises(SystemExit) as stop:
                main()
            assert not stop.value.code, capsys.readouterr().err
    assert len(names["corrected"]) == 1797 and len(list(Path("digits.labels/audits").iterdir())) == 2


def test_the_training_page_s_part_and_recipe_work():
    import numpy as np
    import yaml

    from labelwright.learning import Recipe, TrainData, train

    names = {}
    exec(compile(blocks("docs/training.md", "python")[0], "docs/training.md", "exec"), names)  # noqa: S102  our own page
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 1, 8, 8)).astype(np.float32)
    soft = rng.dirichlet(np.ones(3), 64).astype(np.float32)
    model = train(TrainData(x, soft), targets=(names["Averaged"](),), student="linear", epochs=2)
    assert np.isfinite(model.history[-1]["loss"])
    text = blocks("docs/training.md", "yaml")[0]
    recipe = Recipe.from_yaml(text).but(epochs=2)
    assert recipe.plain()["keep"] == yaml.safe_load(text)["keep"]
    assert np.isfinite(train(TrainData(x, soft), recipe=recipe, valid=TrainData(x, soft)).history[-1]["loss"])
