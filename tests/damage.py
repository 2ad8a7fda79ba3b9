"""Damage that files come with, for tests in a loop."""

from __future__ import annotations

import random


def broken(data: bytes, seed: int) -> bytes:
    """A copy with its end cut off, bits turned, bytes of head or tail or a stretch replaced."""
    rng = random.Random(seed)
    damaged = bytearray(data)
    size = len(damaged)
    if seed % 4 == 0:
        del damaged[rng.randrange(1, size) :]
    elif seed % 4 == 1:
        for _ in range(rng.choice([1, 4, 16, 64])):
            damaged[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif seed % 4 == 2:
        start = rng.choice([0, max(0, size - 2048)])
        for _ in range(rng.choice([1, 2, 8])):
            place = start + rng.randrange(min(2048, size))
            damaged[place] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
    else:
        start = rng.randrange(size)
        length = rng.randrange(1, 200)
        damaged[start : start + length] = rng.choice(
            [b"", bytes(length), rng.randbytes(length), b"\xff" * length]
        )
    return bytes(damaged)
