"""How a model folder wants its texts: pooling, length, and padding of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import OptionError
from labelwright.features.encoders.parts import damaged, read_json

MOST_TOKENS = 512  # of a text, unless a sentence-transformers folder says otherwise
CHARACTERS = 64  # read per token at most, so that a book is not cut into tokens for the sake of its first page
POOLINGS = ("mean", "cls", "max", "lasttoken")
VOCABULARIES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip


class TextSettings(NamedTuple):
    """pooling: one of POOLINGS.   unit: rows of length 1.   max_tokens: of a text.   lower: lower-case it first.
    prompt: put before every text.   transformer: subfolder of the model itself."""

    pooling: str = "mean"
    unit: bool = False
    max_tokens: int = MOST_TOKENS
    lower: bool = False
    prompt: str = ""
    transformer: str = ""

    def clean(self, texts: list[str]) -> list[str]:
        """The texts as the tokenizer should see them; half pairs, which no tokenizer takes, become question marks."""
        cut = [self.prompt + text[: CHARACTERS * self.max_tokens] for text in texts]
        cut = [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in cut]
        return [text.lower() for text in cut] if self.lower else cut


def text_settings(folder: Path) -> TextSettings:
    """Read from modules.json, the pooling's config.json, sentence_bert_config.json, tokenizer_config.json, config.json.

    A folder without modules.json is a plain transformers model: mean over the tokens, lengths as they are.

    Raises:
        OptionError: sentence-transformers modules beyond Transformer, Pooling and Normalize, or an unknown pooling.
        DataError: JSON files that cannot be read.
    """
    transformer, pooling, unit = "", "mean", False
    for module in _modules(folder):
        kind, part = str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))
        if part and (part != Path(part).name or part == ".."):
            raise damaged(folder / "modules.json", f"a module outside the folder: {part!r}")
        if kind == "Transformer":
            transformer = part
        elif kind == "Pooling":
            pooling = _pooling(folder / part)
        elif kind == "Normalize":
            unit = True
        else:
            raise OptionError(
                found=f"encoder {folder} with a module {kind!r}",
                expected="Transformer, Pooling and Normalize only",
                fix="encode with sentence-transformers yourself and pass the vectors as features",
            )
    inner = folder / transformer
    sentence, config = read_json(inner / "sentence_bert_config.json"), read_json(inner / "config.json")
    max_tokens = _max_tokens(sentence, read_json(inner / "tokenizer_config.json"), config)
    prompts = read_json(folder / "config_sentence_transformers.json")
    prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"), "")
    return TextSettings(pooling, unit, max_tokens, bool(sentence.get("do_lower_case")), prompt, transformer)


def _modules(folder: Path) -> list[dict[str, Any]]:
    import json

    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [dict(module) for module in found]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path, str(error)) from error


def _pooling(folder: Path) -> str:
    config = read_json(folder / "config.json")
    names = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}
    chosen = [k.removeprefix("pooling_mode_") for k, v in config.items() if k.startswith("pooling_mode_") and v is True]
    mode = config.get("pooling_mode", [names.get(c, c) for c in chosen] or "mean")
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise OptionError(
            found=f"pooling {' + '.join(map(str, modes))} in {folder}",
            expected=f"one of {', '.join(POOLINGS)}",
            fix="encode with sentence-transformers yourself and pass the vectors as features",
        )
    return str(modes[0])


def _max_tokens(sentence: dict[str, Any], tokenizer: dict[str, Any], config: dict[str, Any]) -> int:
    inner = config.get("text_config") or {}
    positions = config.get("max_position_embeddings") or inner.get("max_position_embeddings")
    wanted = sentence.get("max_seq_length") or min(int(tokenizer.get("model_max_length") or MOST_TOKENS), MOST_TOKENS)
    offset = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet") else 0
    return max(1, min(int(wanted), int(positions) - offset if positions else int(wanted)))


def padded(tokens: list[Any], pad: int, width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(ids, mask), both (B, T) int64, of sequences of token ids; T is `width` or the longest, and at least 1.

    >>> padded([[5, 6], []], pad=9)
    (array([[5, 6],
           [9, 9]]), array([[1, 1],
           [0, 0]]))
    """
    lengths = np.array([len(t) for t in tokens])
    mask = np.arange(width or max(1, lengths.max())) < lengths[:, None]
    ids = np.full(mask.shape, pad, np.int64)
    ids[mask] = np.concatenate([np.asarray(t, np.int64) for t in tokens])
    return ids, mask.astype(np.int64)
