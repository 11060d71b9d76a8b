"""A very small ModernBERT as a published one would be on a disk."""

from itertools import islice
from pathlib import Path

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import write_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.synthetic import notes as synthetic_notes
from clinical_modernbert.streaming_data.tokenizer import tokenizer


def write_initial_model(directory: Path) -> None:
    """Write a ModernBERT with one layer and its tokenizer, in Hugging Face's format."""
    texts = [row["text"] for row in islice(synthetic_notes.generate(seed=1), 60)]
    tokenizer.train(texts, 1024, directory)
    known = tokenizer.load(directory).special_ids
    tokens = {f"{name}_token_id": known[name] for name in ("pad", "cls", "sep")}
    config = ModelConfig(
        vocab_size=1024, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, **tokens
    )
    model = MaskedLM(config)
    initialize(model, 3)
    write_pretrained(model.state_dict(), config, directory)
