"""Image folders: one folder per class; only names are read here, no picture is opened."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from labelwright.errors import DataError, LabelwrightWarning
from labelwright.store._arrow import choose_split
from labelwright.store._kinds import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")


def read_image_folder(root: Path, split: str | None) -> pa.Table:
    """Columns `image` (path relative to the data's root, with "/") and `label` (the name of the class folder), sorted.

    The class is the first folder below the root, however deep the picture lies. Where the folders right below `root`
    are named like splits (train, test, ...) and hold class folders, `split` chooses one and the class is the folder
    below it; paths stay relative to `root`. Hidden files and folders do not exist here. Left out with one warning
    that counts them: other files, pictures in no class folder, symlinks that leave the root, and all symlinks to
    folders.

    Raises:
        DataError: no pictures in class folders.
    """
    import pyarrow as pa

    base = root
    splits = _splits(root)
    if splits or split is not None:
        base = root / choose_split(splits, split, root)
    images, left_out = _walk(base, root)
    if not images:
        raise DataError(
            found=f"{root} with {_counts(left_out) or 'nothing in it'}",
            expected="Parquet shards, a Hugging Face data set, or pictures in one folder per class",
            fix="pass the file itself, or move the pictures into folders named by their class: ROOT/CLASS/picture.png",
        )
    if left_out:
        warnings.warn(f"left out of {root}: {_counts(left_out)}", LabelwrightWarning, stacklevel=2)
    depth = len(base.relative_to(root).parts)
    labels = [path.split("/")[depth] for path in images]
    try:
        return pa.table({"image": pa.array(images, pa.string()), "label": pa.array(labels, pa.string())})
    except UnicodeEncodeError as err:
        raise DataError(
            found=f"a file name in {root} that is not UTF-8 ({err.object!r})",
            expected="file names in UTF-8",
            fix="rename the file",
        ) from err


def _splits(root: Path) -> list[str]:
    """The split folders right below `root`, if all of its folders are splits and hold folders rather than pictures."""
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")]
    if not folders or any(p.name.lower() not in _SPLITS for p in folders):
        return []
    holds_pictures = any(q.suffix.lower() in IMAGE_SUFFIXES for p in folders for q in p.iterdir())
    return [] if holds_pictures else [p.name for p in folders]


def _walk(base: Path, root: Path) -> tuple[list[str], dict[str, int]]:
    """Pictures below the class folders of `base`, relative to `root` and sorted, and counts of what was left out."""
    inside = root.resolve()
    images: list[str] = []
    left_out: dict[str, int] = {}

    def leave(reason: str, count: int = 1) -> None:
        if count:
            left_out[reason] = left_out.get(reason, 0) + count

    for folder, folders, files in os.walk(base, onerror=_refuse):
        here = Path(folder)
        links = [d for d in folders if (here / d).is_symlink() and not d.startswith(".")]
        leave("symlinks to folders", len(links))
        folders[:] = sorted(d for d in folders if not d.startswith(".") and d not in links)
        for name in files:
            if name.startswith("."):
                continue
            path = here / name
            if not name.lower().endswith(IMAGE_SUFFIXES):
                leave("files that are no pictures")
            elif here == base:
                leave("pictures in no class folder")
            elif path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(inside)):
                leave("symlinks that leave the folder or lead nowhere")
            else:
                images.append(path.relative_to(root).as_posix())
    return sorted(images), left_out


def _refuse(err: OSError) -> None:
    raise DataError(
        found=f"folder {err.filename}, which cannot be opened ({err.strerror})",
        expected="folders that can be read",
        fix="change its permissions, or move it out of the image folder",
    ) from err


def _counts(left_out: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
