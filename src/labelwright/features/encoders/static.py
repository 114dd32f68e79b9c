"""Text encoders without a network: the mean of one vector per token."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelwright.features.encoders.parts import damaged, require


class StaticText:
    """The mean of the tokens' vectors; an empty text is zeros."""

    batch_size = 1024

    def __init__(self, weights: Path, tokenizer: Path, key: str):
        safetensors = require("safetensors.numpy", "onnx", "a table of token vectors")
        tokenizers = require("tokenizers", "onnx", "a table of token vectors")
        try:
            self.vectors = safetensors.load_file(str(weights))[key].astype(np.float32)  # (V, D)
            self.tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        except Exception as error:
            raise damaged(weights, str(error)) from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def prepare(self, texts: list[str], rows: np.ndarray) -> list[list[int]]:
        clean = [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in texts]
        return [found.ids for found in self.tokenizer.encode_batch(clean, add_special_tokens=False)]

    def forward(self, tokens: list[list[int]]) -> np.ndarray:
        from scipy.sparse import csr_matrix

        lengths = np.array([len(t) for t in tokens])
        ids = np.concatenate([np.asarray(t, np.int64) for t in tokens])
        share = np.repeat(1 / np.maximum(lengths, 1), lengths).astype(np.float32)
        starts = np.concatenate([[0], lengths.cumsum()])
        counts = csr_matrix((share, ids, starts), shape=(len(tokens), len(self.vectors)))
        return np.asarray(counts @ self.vectors, np.float32)
