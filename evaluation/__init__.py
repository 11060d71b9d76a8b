"""What a trained encoder is worth: benchmarks under one protocol, for ours and for any Hugging Face encoder."""
