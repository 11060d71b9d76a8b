"""The directory of a model that was trained for vectors, in the layout of sentence-transformers or PyLate.

`SentenceTransformer(directory)` and `cmbert embed` open a model with a vector per text, `pylate.models.ColBERT` one
with a vector per token, and transformers opens the encoder of both with AutoModel.
"""

from pathlib import Path

from ..model.sentence_embedding import write_late_interaction, write_sentence_embedding
from ..storage.files import stage_directory
from .fine_tuning.embedder import Embedder
from .fine_tuning.heads import save_as
from .fine_tuning.kind import Outcome
from .saved_model import settings_of, write_around
from .saved_settings import Settings
from .suite import Evaluation


def save_embedder(
    outcome: Outcome, evaluation: Evaluation, base: str, seed: int, identity: str, directory: Path
) -> None:
    """Write the directory, complete or not at all.

    Args:
        base: name of the model that was trained.
        identity: of what the model was computed from.
    Raises:
        UserError: the directory exists and is not empty.
    """
    embedder = outcome.fine_tuned
    assert isinstance(embedder, Embedder)
    model = embedder.model
    settings = settings_of(
        outcome, evaluation, base, seed, identity, head=None, unpadded=model.unpadded, max_length=model.max_length
    )
    with stage_directory(directory) as staging:
        _save_encoder(embedder, staging)
        if embedder.projection is None:
            write_sentence_embedding(model.hidden_size, model.max_length, staging, embedder.pooling, normalize=True)
        else:
            write_late_interaction(embedder.projection.weight, model.max_length, staging)
        write_around(outcome, settings, _card(settings, late=embedder.projection is not None), model.directory, staging)


def _save_encoder(embedder: Embedder, directory: Path) -> None:
    """Write config.json and the weights, as AutoModel of transformers reads them."""
    if embedder.model.masked_lm is None:
        embedder.encoder.save_pretrained(directory)  # type: ignore[operator]  # an encoder of transformers
        return
    save_as(embedder.encoder, embedder.model.masked_lm.config, {"architectures": ["ModernBertModel"]}, directory)


def _card(settings: Settings, late: bool) -> str:
    library, kind = (
        ("PyLate", "Vectors of tokens, compared by MaxSim")
        if late
        else ("sentence-transformers", "Vectors of texts, compared by cosine")
    )
    values = "\n".join(f"| {name} | {value:.4f} |" for name, value in settings.scores.items())
    protocol = "\n".join(
        f"| {key} | {value} |" for key, value in settings.protocol.model_dump(exclude={"tokens"}).items()
    )
    return f"""---
library_name: {library}
pipeline_tag: sentence-similarity
base_model: {settings.base}
license: other
---
# {settings.base} trained for {settings.name}

{kind}. A model may reproduce its training data: the terms of the data of
`{settings.name}` and of `{settings.base}` apply to everyone who receives it. It was not tested for any clinical use.

## Results on the test queries

| score | |
| --- | --- |
{values}

## Protocol

| | |
| --- | --- |
{protocol}
| seed | {settings.seed} |
"""
