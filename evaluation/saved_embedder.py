"""The directory of a model that was trained for vectors, in the layout of sentence-transformers.

`SentenceTransformer(directory)` and `cmbert embed` open it, and transformers opens its encoder with AutoModel.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..model.hugging_face_config import write_config
from ..model.sentence_embedding import write_sentence_embedding
from ..storage.files import stage_directory
from .fine_tuning.embedder import Embedder
from .fine_tuning.kind import Outcome
from .saved_model import PREDICTIONS, copy_tokenizer
from .saved_settings import SETTINGS, Settings
from .seed_file import as_lines
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
    settings = Settings(
        name=evaluation.name,
        base=base,
        task=evaluation.task,
        protocol=evaluation.protocol,
        seed=seed,
        identity=identity,
        head=None,
        unpadded=model.unpadded,
        max_length=model.max_length,
        scores={name: float(value) for name, value in outcome.scores.items()},
    )
    with stage_directory(directory) as staging:
        _save_encoder(embedder, staging)
        write_sentence_embedding(model.hidden_size, model.max_length, staging, embedder.pooling, normalize=True)
        copy_tokenizer(model.directory, staging)
        (staging / SETTINGS).write_text(settings.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (staging / "README.md").write_text(_card(settings), encoding="utf-8")
        (staging / PREDICTIONS).write_text(as_lines(outcome.records), encoding="utf-8")


def _save_encoder(embedder: Embedder, directory: Path) -> None:
    """Write config.json and the weights, as AutoModel of transformers reads them."""
    if embedder.model.masked_lm is None:
        embedder.encoder.save_pretrained(directory)  # type: ignore[operator]  # an encoder of transformers
        return
    path = directory / "config.json"
    write_config(embedder.model.masked_lm.config, torch.float32, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["ModernBertModel"]}, indent=2) + "\n")
    weights = {name: value.detach().cpu().contiguous() for name, value in embedder.encoder.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def _card(settings: Settings) -> str:
    values = "\n".join(f"| {name} | {value:.4f} |" for name, value in settings.scores.items())
    protocol = "\n".join(
        f"| {key} | {value} |" for key, value in settings.protocol.model_dump(exclude={"tokens"}).items()
    )
    return f"""---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
base_model: {settings.base}
license: other
---
# {settings.base} trained for {settings.name}

Vectors of texts, compared by cosine. A model may reproduce its training data: the terms of the data of
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
