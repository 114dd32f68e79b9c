"""Run-length codes of masks: ours (rows first), COCO's (columns first, plain or packed), Label Studio's (bits)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelwright.store.exchange._parts import MOST_PIXELS, Mask

_LENGTH_BITS = (3, 8, 12, 16)  # of the four lengths of runs that Label Studio's code offers, as we write it


def pixels(mask: Mask) -> np.ndarray:
    """(H, W) bool."""
    inside = np.arange(len(mask.runs)) % 2 == 1
    return np.repeat(inside, mask.runs).reshape(mask.height, mask.width)


def mask_of(array: np.ndarray) -> Mask:
    """From (H, W) bool."""
    return Mask(array.shape[0], array.shape[1], tuple(_runs(array.ravel()).tolist()))


def to_coco(mask: Mask) -> list[int]:
    """Lengths of runs outside, inside, ... down the columns."""
    return [int(n) for n in _runs(pixels(mask).ravel(order="F"))]


def from_coco(counts: Sequence[int], height: int, width: int) -> Mask:
    """From such lengths.

    Raises:
        ValueError: they do not add up to height * width.
    """
    if sum(counts) != height * width or min(counts) < 0 or not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"a mask whose runs do not add up to {height} x {width} pixels")
    inside = np.arange(len(counts)) % 2 == 1
    return mask_of(np.repeat(inside, counts).reshape(width, height).T)


def unpack_coco(text: str) -> list[int]:
    """Lengths from pycocotools' text: six bits a character, five of the number and one that says more follow; from the
    third length on, the difference to the length two before.

    Raises:
        ValueError: other characters, or a text that ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for char in text.encode("ascii"):
        code = char - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("no packed run lengths")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("packed run lengths that end within a number")
    return counts


def to_label_studio(mask: Mask) -> list[int]:
    """Bytes of the code that Label Studio's brush reads: runs of equal bytes over (H, W, 4), each channel 255 inside."""
    bits = [f"{4 * mask.height * mask.width:032b}", f"{7:05b}", *(f"{n - 1:04b}" for n in _LENGTH_BITS)]
    for i, run in enumerate(mask.runs):
        left = 4 * run
        while left:
            step = min(left, 1 << 16)
            which = next(j for j, n in enumerate(_LENGTH_BITS) if step <= 1 << n)
            bits.append(f"1{which:02b}{step - 1:0{_LENGTH_BITS[which]}b}{255 * (i % 2):08b}")
            left -= step
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def from_label_studio(code: Sequence[int], height: int, width: int) -> Mask:
    """The mask of such bytes: pixels whose fourth channel is above 0.

    Raises:
        ValueError: bytes that are no such code, or one of another size.
    """
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"an image of {height} x {width} pixels")
    data = bytes(code)
    text = bin(int.from_bytes(b"\1" + data, "big"))[3:]
    at = 0

    def read(n: int) -> int:
        nonlocal at
        at += n
        if at > len(text):
            raise ValueError("a brush code that ends early")
        return int(text[at - n : at], 2)

    if (size := read(32)) != 4 * height * width:
        raise ValueError(f"a brush code of {size} bytes for {height} x {width} pixels of 4")
    word = read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    out = np.zeros(size, np.uint8)
    i = 0
    while i < size:
        same, n = read(1), 0
        n = min(i + 1 + read(lengths[read(2)]), size)
        if same:
            out[i:n] = read(word) & 255
        else:
            out[i:n] = [read(word) & 255 for _ in range(n - i)]
        i = n
    return mask_of(out.reshape(height, width, 4)[:, :, 3] > 0)


def _runs(flat: np.ndarray) -> np.ndarray:
    edges = np.flatnonzero(np.diff(np.r_[False, flat].astype(np.int8)))
    return np.diff(np.r_[0, edges, len(flat)]).astype(np.int64)
