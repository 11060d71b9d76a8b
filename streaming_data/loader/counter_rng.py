"""Counter-based random numbers: a pure function of a key, without state, rank or history."""

import hashlib
import json

import numpy as np
import numpy.typing as npt


def random_bits(count: int, *key: int | str) -> npt.NDArray[np.uint64]:
    """`count` uniform 64-bit integers that depend only on the key.

    The raw stream of Philox is used: numpy guarantees that it never changes, unlike its distributions. The key is
    serialized as JSON, which rejects numpy scalars, whose `repr` differs between versions of numpy.
    """
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, "<u8")).random_raw(count)


def permutation(count: int, *key: int | str) -> npt.NDArray[np.int64]:
    """A uniform permutation of `range(count)` that depends only on the key."""
    return np.argsort(random_bits(count, *key), kind="stable")


def unit_floats(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) from random bits."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
