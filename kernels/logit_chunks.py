"""How many rows of logits the masked-language-model head computes at once. Plans ask too, so torch is not needed."""


def chunk_rows(rows: int) -> int:
    """Matmuls of at least 1,024 rows, and at most four partial sums of the weight's gradient, so that rounding them to
    bf16 stays within twice the error of a single matmul."""
    return max(1024, -(-rows // 4))
