"""Rows of logits that the masked-language-model head computes at once. Free of torch: memory planning imports it."""


def chunk_rows(rows: int) -> int:
    """Rows per chunk: at least 1,024 per matmul, a multiple of 16, and at most four chunks.

    The weight's gradient is the sum of one partial product per chunk, rounded to bf16 each time: with four of them
    its error stays within twice that of a single matmul. A chunk that began at an odd row would have its targets at an
    address for which Triton compiles another variant of the kernel.
    """
    return max(1024, -(-rows // 64) * 16)
