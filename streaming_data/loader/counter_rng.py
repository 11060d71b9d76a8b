"""Random bits as a pure function of a key: no state to save, nothing that depends on rank, worker or history."""

import hashlib
import json

import numpy as np
import numpy.typing as npt


def random_bits(count: int, *key: int | str) -> npt.NDArray[np.uint64]:
    """`count` uniform 64-bit integers that depend on the key alone.

    Philox's raw stream is used, which numpy guarantees never to change, unlike its distributions. JSON spells the
    key, since it refuses what `repr` would spell differently from one numpy to the next.
    """
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(digest, "<u8")).random_raw(count)


def permutation(count: int, *key: int | str) -> npt.NDArray[np.int64]:
    """A uniform permutation of `range(count)` that depends on the key alone."""
    return np.argsort(random_bits(count, *key), kind="stable")


def unit_floats(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1) from random bits."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
