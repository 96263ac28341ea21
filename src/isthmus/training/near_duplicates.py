"""Texts that are nearly the same, found as they stream by: MinHash over runs of words (Broder 1997); no torch."""

from __future__ import annotations

import string
import zlib
from array import array

import numpy as np
from numpy.typing import NDArray

from isthmus.training.structure import units

# Runs of this many words, or characters of scripts without spaces.
_RUN = 3
_AROUND = string.punctuation + "、。，．！？；：「」『』（）《》〈〉【】“”‘’«»…—–·،؛؟।॥"
_HASHES = 64
# Two texts meet where a band of four hashes is the same: 99 % of the pairs that share 90 % of their runs, and 23 % of
# those that share half. Over a corpus the meetings add up, so one alone says nothing; the share of equal hashes does,
# which estimates the share of runs (Broder 1997).
_BANDS, _ROWS = 4, 4
# Of the pairs that share 90 % of their runs, 99 % are found then; 79 % of those that share 80 %, 0.003 % at 50 %.
_LEAST_EQUAL = 48
# Many texts with a template in common may meet in a band; only the latest are compared, so that it takes no longer.
_COMPARED = 100


class NearDuplicates:
    """Remembers texts by 64 hashes each, whatever their length: by four bands in full, by one byte each of all.

    Letter case, white space and punctuation around words do not count; texts that have nothing else are all the same.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._factors = generator.integers(0, 2**63, size=(_HASHES, 2), dtype=np.uint64)
        # Multiplying hashes by odd numbers loses none.
        self._factors[:, 0] |= np.uint64(1)
        # Of every band, the latest text that has it; of every text and band, the one that had it before, or -1.
        self._latest: list[dict[bytes, int]] = [{} for _ in range(_BANDS)]
        self._earlier: list[array[int]] = [array("q") for _ in range(_BANDS)]
        self._bytes = bytearray()

    def add(self, text: str) -> bool:
        """Remember a text; False when one nearly the same has been remembered before, and it is not."""
        hashes = self._hashes(text)
        keys = [row.tobytes() for row in hashes[: _BANDS * _ROWS].reshape(_BANDS, _ROWS)]
        short = hashes.astype(np.uint8)
        met = self._met(keys)
        if met:
            seen = np.frombuffer(self._bytes, dtype=np.uint8).reshape(-1, _HASHES)
            if ((seen[met] == short).sum(axis=1) >= _LEAST_EQUAL).any():
                return False
            # A bytearray that is looked at cannot grow.
            del seen
        number = len(self._bytes) // _HASHES
        for key, latest, earlier in zip(keys, self._latest, self._earlier, strict=True):
            earlier.append(latest.get(key, -1))
            latest[key] = number
        self._bytes += short.tobytes()
        return True

    def _met(self, keys: list[bytes]) -> list[int]:
        """The latest texts that have a band in common with one of these keys."""
        found: set[int] = set()
        for key, latest, earlier in zip(keys, self._latest, self._earlier, strict=True):
            number = latest.get(key, -1)
            for _ in range(_COMPARED):
                if number < 0:
                    break
                found.add(number)
                number = earlier[number]
        return list(found)

    def _hashes(self, text: str) -> NDArray[np.uint32]:
        words = [word for unit in units(text.casefold()) if (word := unit.strip(_AROUND))]
        runs = {" ".join(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1))}
        hashes = np.fromiter((zlib.crc32(run.encode()) for run in runs), dtype=np.uint64, count=len(runs))
        mixed = self._factors[:, :1] * hashes + self._factors[:, 1:]
        least: NDArray[np.uint32] = (mixed.min(axis=1) >> np.uint64(32)).astype(np.uint32)
        return least
