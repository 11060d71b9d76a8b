"""Rows of logits that the masked-language-model head computes at once. Free of torch: memory planning imports it."""

CHUNK_BYTES = 1 << 29
"""At most, of the logits of one chunk: 5,328 rows of ModernBERT's vocabulary in bf16, 1,040 of one of 256,000 tokens."""
FEW = 4
"""Chunks whose products may be summed in bf16."""


def chunk_rows(rows: int, vocab_size: int, size: int) -> int:
    """Rows per chunk of logits whose values have `size` bytes: a multiple of 16, in at most `CHUNK_BYTES`.

    Where the bytes allow it, at least 1,024 per matmul, and at most four chunks. A chunk that began at an odd row would
    have its targets at an address for which Triton compiles another variant of the kernel.
    """
    most = CHUNK_BYTES // (vocab_size * size) // 16 * 16
    return max(16, min(most, max(1024, -(-rows // 64) * 16)))


def sums_in_fp32(rows: int, chunk: int, size: int) -> bool:
    """Whether the weight's gradient, the sum of one product per chunk, is summed in fp32.

    In bf16 each addition rounds the sum. With four of them its error stays within twice that of a single matmul; more
    need the second copy of the gradient.
    """
    return size < 4 and rows > FEW * chunk
