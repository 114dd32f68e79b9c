"""Readers: items of a file -> inputs of a student. Fitted once on the training items, and kept with the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelwright.errors import DataError, OptionError, check_option
from labelwright.features.item_file import ItemFile

PIXELS = 32
KINDS = ("vectors", "text", "encoder", "pixels", "tokens", "table")


class Reader:
    """What a student sees of each item.

    kind: "vectors" (standardised), "text" (TF-IDF of words and character n-grams, its first singular directions), "encoder"
        (vectors of a text or image encoder, standardised), "pixels" (uint8 (3, size, size)), "tokens" (of a model's
        tokenizer), or "table" (numbers standardised, a 0/1 column per value of the others).
    state: what was learnt from the training items: arrays and plain values.
    """

    def __init__(self, kind: str, state: dict[str, Any]):
        check_option("reader", kind, KINDS)
        self.kind, self.state = kind, state

    @classmethod
    def fit(
        cls,
        file: ItemFile,
        *,
        encoder: str | None = None,
        size: int = PIXELS,
        seed: int = 0,
        tokenizer: str | None = None,
    ) -> tuple[Reader, Any]:
        """The reader for the items of a file, and their inputs.

        Raises:
            OptionError: an encoder for items that are neither texts nor images.
        """
        if tokenizer is not None and file.kind not in ("text", "image"):
            raise OptionError(
                found=f"a pre-trained model for items read from {file.kind}",
                expected="texts or images",
                fix="take the student mlp",
            )
        if encoder is not None:
            if file.kind not in ("text", "image"):
                raise OptionError(
                    found=f"encoder {encoder!r} for items read from {file.kind}",
                    expected="texts or images",
                    fix="leave it out",
                )
            reader = cls("encoder", {"encoder": encoder, "of": file.kind})
            return reader, reader._standardise(reader._encode(file), fit=True)
        if file.kind == "vectors":
            reader = cls("vectors", {})
            return reader, reader._standardise(np.asarray(file.items), fit=True)
        if file.kind == "image":
            reader = cls("pixels", {"size": size})
            return reader, reader.read(file)
        if file.kind == "text" and tokenizer is not None:
            reader = cls("tokens", {"tokenizer": str(tokenizer)})
            return reader, reader.read(file)
        if file.kind == "text":
            reader = cls("text", _fit_text(file.items, seed))
            return reader, reader._standardise(reader._directions(file.items), fit=True)
        reader = cls("table", {"columns": _fit_table(file.items)})
        return reader, reader.read(file)

    def save_tokenizer(self, folder: Any) -> None:
        """Keep the tokenizer of "tokens" in a folder of the model; of other kinds there is none."""
        if self.kind == "tokens":
            from transformers import AutoTokenizer

            AutoTokenizer.from_pretrained(self.state["tokenizer"], local_files_only=True).save_pretrained(folder)

    def read(self, file: ItemFile) -> Any:
        """Inputs of the items of another file, (N, ...), of tokens a dict.

        Raises:
            DataError: items of another kind, or without a column that the training items had.
        """
        wanted = {"pixels": "image", "tokens": "text", "encoder": self.state.get("of")}.get(self.kind, self.kind)
        if file.kind != wanted:
            raise DataError(
                found=f"items read from {file.kind} for a model of {wanted}",
                expected=f"items of the same kind as those it was trained on ({wanted})",
                fix="name their column with --text, --image or --features",
            )
        if self.kind == "pixels":
            return pixels(file.items, int(self.state["size"]))
        if self.kind == "tokens":
            from labelwright.learning.networks.pretrained import tokens

            return tokens(list(file.items), self.state["tokenizer"])
        if self.kind == "table":
            return _read_table(file.items, self.state["columns"])
        found = self._encode(file) if self.kind == "encoder" else (
            self._directions(file.items) if self.kind == "text" else np.asarray(file.items)
        )  # fmt: skip
        return self._standardise(found)

    def _standardise(self, x: np.ndarray, *, fit: bool = False) -> np.ndarray:
        if fit:
            self.state["mean"] = x.mean(0, dtype=np.float64).astype(np.float32)
            spread = x.std(0, dtype=np.float64)
            if self.kind == "text":  # a direction that hardly varies says hardly anything: all are measured by one rule
                spread = np.full_like(spread, np.sqrt(np.mean(spread**2)))
            self.state["spread"] = (spread + 1e-6).astype(np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.state["mean"]):
            raise DataError(
                found=f"vectors of shape {x.shape} for a model of {len(self.state['mean'])} numbers per item",
                expected="as many numbers per item as in training",
                fix="pass the same features, or the same encoder",
            )
        return np.asarray((x - self.state["mean"]) / self.state["spread"], np.float32)

    def _encode(self, file: ItemFile) -> np.ndarray:
        from labelwright.features.encoders import encoded, load_encoder

        found = load_encoder(self.state["encoder"], kind=self.state["of"])
        return np.asarray(encoded(found, file.items), np.float32)

    def _directions(self, texts: list[str]) -> np.ndarray:
        return np.asarray(_weighted(texts, self.state) @ self.state["directions"], np.float32)


# ------------------------------------------------------------------------------------------------------------- texts
def _hashed(texts: list[str]) -> Any:
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    options = {"alternate_sign": False, "norm": None, "dtype": np.float32, "n_features": 2**17}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **options)
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **options)
    return hstack([words.transform(texts), characters.transform(text[:2000] for text in texts)], format="csr")


def _weighted(texts: list[str], state: dict[str, Any]) -> Any:
    """(N, D) CSR rows of length 1: 1 + log of the counts, times the rarity of each n-gram in the training texts."""
    from sklearn.preprocessing import normalize

    x = _hashed(texts)[:, state["kept"]]
    x.data = (1 + np.log(x.data)) * state["rarity"][x.indices]
    return normalize(x, copy=False)


def _fit_text(texts: list[str], seed: int, *, n_grams: int = 32_768, dim: int = 256) -> dict[str, Any]:
    from sklearn.utils.extmath import randomized_svd

    counts = _hashed(texts)
    in_texts = np.bincount(counts.indices, minlength=counts.shape[1])
    kept = np.sort(np.argsort(-in_texts, kind="stable")[: min(n_grams, int((in_texts > 0).sum()))])
    if not len(kept):
        raise DataError(found="texts without a word", expected="texts", fix="name the column of the texts with --text")
    rarity = (1 + np.log((1 + len(texts)) / (1 + in_texts[kept]))).astype(np.float32)
    state: dict[str, Any] = {"kept": kept.astype(np.int64), "rarity": rarity}
    rows = _weighted(texts, state)
    _, _, directions = randomized_svd(rows, min(dim, *rows.shape), n_iter=3, random_state=seed)
    state["directions"] = np.ascontiguousarray(directions.T, np.float32)
    return state


# ------------------------------------------------------------------------------------------------------------ images
def pixels(images: Any, size: int = PIXELS) -> np.ndarray:
    """(N, 3, size, size) uint8 of image paths, open files or arrays: the middle square, scaled.

    Raises:
        DataError: files that are no images, or too large to be safe.
    """
    from PIL import Image, ImageOps

    from labelwright.features.images import open_image

    out = np.empty((len(images), 3, size, size), np.uint8)
    for i, item in enumerate(images):
        shown = ImageOps.fit(open_image(item, i), (size, size), Image.Resampling.BILINEAR)
        out[i] = np.asarray(shown).transpose(2, 0, 1)
    return out


# ------------------------------------------------------------------------------------------------------------ tables
def _fit_table(table: Any, *, most: int = 100) -> list[dict[str, Any]]:
    """One entry per column: numbers with mean and spread, others with the values that get a column of their own."""
    columns = []
    for name in table.column_names:
        values = table[name].to_pylist()
        numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and v == v]
        if numbers and len(numbers) == sum(v is not None and v == v for v in values):
            spread = float(np.std(numbers)) or 1.0
            columns.append({"name": name, "mean": float(np.mean(numbers)), "spread": spread})
            continue
        found, counts = np.unique([str(v) for v in values if v is not None], return_counts=True)
        common = found[np.argsort(-counts, kind="stable")[:most]]
        columns.append({"name": name, "values": sorted(map(str, common))})
    return columns


def _read_table(table: Any, columns: list[dict[str, Any]]) -> np.ndarray:
    missing = [c["name"] for c in columns if c["name"] not in table.column_names]
    if missing:
        raise DataError(
            found=f"a table without {', '.join(map(repr, missing))}",
            expected="the columns that the model was trained on",
            fix="pass a table with the same columns",
        )
    parts = []
    for column in columns:
        values = table[column["name"]].to_pylist()
        if "values" in column:
            place = {value: j for j, value in enumerate(column["values"])}
            block = np.zeros((len(values), len(place) + 1), np.float32)
            block[np.arange(len(values)), [place.get(str(v), len(place)) for v in values]] = 1
        else:
            gap = np.array([v is None or v != v for v in values])
            known = np.array([column["mean"] if g else float(v) for v, g in zip(values, gap)])
            block = np.column_stack([(known - column["mean"]) / column["spread"], gap]).astype(np.float32)
        parts.append(block)
    return np.concatenate(parts, axis=1)
