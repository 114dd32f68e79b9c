"""Which folders a repository may show files of."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("sqlalchemy")

from labelwright.errors import OptionError
from labelwright.webapp.content import Contents


def folder_of(home: Path, root: Path) -> Path:
    folder = home / "x.labels" / "audits" / "0001"
    folder.mkdir(parents=True)
    (folder / "content.json").write_text(json.dumps({"kind": "image", "root": str(root)}))
    pq.write_table(pa.table({"item": ["a"], "path": ["a.png"]}), folder / "content.parquet")
    return folder


def test_a_repository_cannot_name_any_folder_of_the_machine(tmp_path: Path):
    home, other = tmp_path / "home", tmp_path / "other"
    for path in (home / "images", other):
        path.mkdir(parents=True)
    assert Contents(folder_of(home, home / "images")).root == home / "images"
    folder = folder_of(tmp_path / "second", other)
    with pytest.raises(OptionError, match=f"pass --data {other}"):
        Contents(folder)
    assert Contents(folder, root=other).root == other
    link = home / "link"
    link.symlink_to(other)
    with pytest.raises(OptionError, match="your word that they may be shown"):
        Contents(folder_of(home / "third", link))
