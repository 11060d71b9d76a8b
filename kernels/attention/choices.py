"""Which backend `auto` takes for a layer, and on what evidence: a table, of which the first row that applies decides.

The evidence of a row begins with its kind: "measured" with the device and the file of its numbers, "static bound" with
the arithmetic, or "unmeasured" with what is assumed. Figures of others are named with their source.
"""

from dataclasses import dataclass

LONG = 1024
"""Keys that a token attends to, on average over the batch, from which on a global layer is in the regime "long".

Per pair of query and key, a library's backward computes five matrix products, ours seven. Around it, q, k, v, their
gradients and an fp32 copy of one pass through memory more often: 26 to 35 times in all, against 20. On an H100 (350
TFLOP/s, 3 TB/s) these passes take as long as the two products at 350 to 880 keys.
"""
REGIMES = ("local", "short", "long")
"""Local layers, with a window; global layers whose tokens attend to fewer than LONG keys; the other global layers."""
BACKENDS = ("triton", "flash4", "flash3", "flash2", "varlen", "torch")
"""The order where no evidence says otherwise."""


@dataclass(frozen=True)
class Row:
    """A preference; what it leaves empty does not matter to it.

    architectures: as in `kernels/architecture.py`, or "cpu"; bits: of a value. head_dims: sizes of a head. regimes: of
    REGIMES. deterministic: whether two backward passes must be equal bit for bit.
    order: the backends to try first, the best first; the others follow in the order of BACKENDS.
    """

    order: tuple[str, ...]
    evidence: str
    architectures: tuple[str, ...] = ()
    bits: int | None = None
    head_dims: tuple[int, ...] = ()
    regimes: tuple[str, ...] = ()
    deterministic: bool | None = None

    def applies(self, architecture: str, bits: int, head_dim: int, regime: str, deterministic: bool) -> bool:
        return (
            architecture in (self.architectures or (architecture,))
            and bits == (self.bits or bits)
            and head_dim in (self.head_dims or (head_dim,))
            and regime in (self.regimes or (regime,))
            and self.deterministic in (None, deterministic)
        )


_PRODUCTS = "static bound: a library's backward computes five products per pair, ours seven"
TABLE = (
    Row(
        ("torch",),
        "measured: docs/kernels.md, On a CPU",
        architectures=("cpu",),
    ),
    Row(
        ("triton",),
        "unmeasured: no library computes in 32 bits",
        bits=32,
    ),
    Row(
        ("flash3", "triton"),
        f"{_PRODUCTS}; unmeasured here, published for Hopper at heads of 64: 298 TFLOP/s at 1,024 and 450 at 8,192 "
        "tokens in flash3's deterministic backward (flash-attention#2207), for which ours needs 417 and 630",
        architectures=("sm90",),
        head_dims=(64, 128),
        regimes=("long",),
    ),
    Row(
        ("flash4", "triton"),
        f"{_PRODUCTS}; unmeasured here, published for B200 at heads of 128: 1,180 TFLOP/s at 8,192 tokens in flash4's "
        "deterministic backward (flash-attention#2390)",
        architectures=("sm100", "sm103"),
        head_dims=(64, 128),
        regimes=("long",),
    ),
    Row(
        ("flash2", "varlen", "triton"),
        f"{_PRODUCTS}; unmeasured",
        architectures=("sm80", "sm86", "sm89"),
        head_dims=(64, 128),
        regimes=("long",),
        deterministic=False,
    ),
    Row(
        ("triton",),
        "static bound: 16 to 20 passes over q, at least 26 with a library; unmeasured here, published for B200: "
        "flash4's backward takes as long with a window as without (flash-attention#2313)",
        regimes=("local",),
    ),
    Row(
        ("triton",),
        "static bound: up to 350 keys the passes over q around a library cost more than two products; unmeasured here, "
        "published for H200: packed Triton is faster than flash4 at lengths up to 128 (flash-modernbert)",
        regimes=("short",),
    ),
    Row(
        ("triton",),
        "unmeasured: deterministic without a pass of its own; flash2's deterministic backward has no published figure",
        regimes=("long",),
    ),
)


def preference(architecture: str, bits: int, head_dim: int, regime: str, deterministic: bool) -> Row:
    """The row of TABLE that decides. The last three rows apply to everything, one for each regime."""
    return next(row for row in TABLE if row.applies(architecture, bits, head_dim, regime, deterministic))
