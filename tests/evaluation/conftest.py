"""Very small encoders, ModernBERT and BERT, in Hugging Face directories."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.suite import AnyTask, Evaluation, Outcome, run
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import save_pretrained
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.tokenizer import tokenizer

WORDS = ["aspirin", "fever", "cough", "lung", "heart", "pain", "acute", "chronic", "left", "right", "with", "and", "at"]
QUICK = Protocol(lr=3e-3, epochs=5, batch=8, tokens=512)


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizers") / "words"
    tokenizer.train([" ".join(WORDS) + " " + " ".join(reversed(WORDS))] * 5, 512, directory, max_length=128)
    return directory


@pytest.fixture(scope="session")
def our_directory(tmp_path_factory: pytest.TempPathFactory, tokenizer_directory: Path) -> Path:
    """A ModernBERT with large random weights, so that positions and neighbors matter."""
    config = ModelConfig(
        vocab_size=576,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        local_attention=8,
        max_position_embeddings=128,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
    )
    generator = torch.Generator().manual_seed(1)
    model = MaskedLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 1 + 0.2 * noise)
    return _with_tokenizer(
        tmp_path_factory.mktemp("models") / "ours", tokenizer_directory, lambda out: save_pretrained(
            model.state_dict(), config, out
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def bert_directory(tmp_path_factory: pytest.TempPathFactory, tokenizer_directory: Path) -> Path:
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=576,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        pad_token_id=3,
    )
    model = transformers.BertForMaskedLM(config)
    return _with_tokenizer(tmp_path_factory.mktemp("models") / "bert", tokenizer_directory, model.save_pretrained)


@pytest.fixture(scope="session")
def ours(our_directory: Path) -> EvaluatedModel:
    return open_model(str(our_directory))


@pytest.fixture(scope="session")
def bert(bert_directory: Path) -> EvaluatedModel:
    return open_model(str(bert_directory))


def run_task(model: EvaluatedModel, task: AnyTask, data: Path, protocol: Protocol) -> Outcome:
    """Fine-tune for a task and predict its test, with seed 0."""
    return run(model, Evaluation(name="toy", data=data, task=task, protocol=protocol), 0)


@pytest.fixture
def quick() -> Protocol:
    """A protocol with which a very small encoder learns in a second."""
    return QUICK


def _with_tokenizer(directory: Path, tokenizer_directory: Path, save: Callable[[Path], None]) -> Path:
    save(directory)
    for file in tokenizer_directory.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    return directory
