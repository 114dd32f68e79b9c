"""Audits of boxes and masks for tests: pictures with known objects, planted faults, a detector that is nearly right."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

import labelwright as lw
from labelwright.labels import Boxes, LabelSpace

SPACE = LabelSpace(["disc", "ring", "square"])
COLOURS = ("#c33", "#38c", "#3a5")


def drawn(n: int = 60, size: tuple[int, int] = (160, 120), seed: int = 0):
    """n pictures as PNG bytes, with the item, corners and class of each of their objects."""
    rng = np.random.default_rng(seed)
    pictures, item, corners, label = [], [], [], []
    for i in range(n):
        picture = Image.new("RGB", size, "#dde")
        pen = ImageDraw.Draw(picture)
        for slot in range(3):
            x, y = 8 + 50 * slot + rng.integers(8), 10 + rng.integers(50)
            side, k = 26 + rng.integers(14), int(rng.integers(3))
            box = [int(x), int(y), int(x + side), int(y + side)]
            inside = (box[0], box[1], box[2] - 1, box[3] - 1)
            if k == 2:
                pen.rectangle(inside, fill=COLOURS[k])
            else:
                pen.ellipse(inside, fill=COLOURS[k] if k == 0 else None, outline=COLOURS[k], width=5)
            item.append(i), corners.append(box), label.append(k)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        pictures.append(buffer.getvalue())
    return pictures, np.array(item), np.array(corners, np.float32), np.array(label)


def faulty(item, corners, label, space, names, seed: int = 0, every: int = 12):
    """An audit of the boxes with every `every`th one wrong, in turns: class, place, none there, an object left out."""
    rng = np.random.default_rng(seed)
    n = len(item)
    scores = rng.uniform(0.9, 0.99, n).astype(np.float32)
    noise = rng.normal(0, 0.4, (n, 4)).astype(np.float32)
    predicted = Boxes.from_columns(item, corners + noise, label, space, score=scores)
    given, box, there = label.copy(), corners.copy(), np.ones(n, bool)
    bad = np.arange(0, n, every)
    given[bad[0::4]] = (given[bad[0::4]] + 1) % len(space)
    size = np.tile(box[bad[1::4], 2:] - box[bad[1::4], :2], 2)
    box[bad[1::4]] = box[bad[1::4]] + size * np.float32(0.3)
    there[bad[2::4]] = False
    extra = bad[3::4]
    spare = box[extra] - box[extra] % 1 + np.float32([0.0, 55.0, -12.0, 43.0])
    boxes = Boxes.from_columns(
        np.r_[item[there], item[extra]], np.r_[box[there], spare], np.r_[given[there], label[extra]], space
    )
    return lw.audit_boxes(boxes, predicted, items=names)


def drawn_audit(n: int = 40):
    """Pictures of `drawn`, and their audit."""
    pictures, item, corners, label = drawn(n, (320, 240))
    return pictures, faulty(item, corners, label, SPACE, [f"p{i:02d}.png" for i in range(n)], every=8)


def bccd_audit(folder, n: int = 60):
    """The first pictures of the blood cells as JPEG bytes, and an audit of their boxes with planted faults."""
    images = pq.read_table(folder / "detection_bccd" / "images.parquet").slice(0, n)
    boxes = pq.read_table(folder / "detection_bccd" / "boxes.parquet").to_pylist()
    names = images["image"].to_pylist()
    space = LabelSpace(["RBC", "WBC", "Platelets"])
    corner = ("xmin", "ymin", "xmax", "ymax")
    rows = [b for b in boxes if b["image"] in names and b["xmax"] > b["xmin"] and b["ymax"] > b["ymin"]]
    item = np.array([names.index(b["image"]) for b in rows])
    corners = np.array([[b[c] for c in corner] for b in rows], np.float32)
    label = np.array([space.id_of(b["label"]) for b in rows])
    return images["jpeg"].to_pylist(), faulty(item, corners, label, space, names, every=15)


def masks_audit(n: int = 12):
    """Pictures of two halves whose labels carry a patch of the wrong class, and their audit."""
    labels = np.zeros((n, 40, 60), int)
    labels[:, :, 30:] = 1
    p = np.stack([0.95 - 0.9 * labels, 0.05 + 0.9 * labels], 1)
    pictures = [np.where(mask[..., None] > 0, [60, 120, 200], [220, 180, 120]).astype(np.uint8) for mask in labels]
    labels[3, 8:20, 5:20] = 1
    labels[5, 22:36, 40:55] = 0
    audit = lw.audit_masks(labels, p, space=["field", "river"], items=[f"m{i:02d}.png" for i in range(n)])
    return pictures, audit
