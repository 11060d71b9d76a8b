"""Small models with random weights, and transformers' own ModernBERT as the reference."""

import random
from collections.abc import Sequence

import pytest
import torch
import transformers
from model_fixtures import Packed, Padded, RandomConfig, RandomModel, Reference
from torch import Tensor

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM

PAD, CLS, SEP = 0, 1, 2


@pytest.fixture
def config() -> ModelConfig:
    """Four layers: global, local, local, global. Local layers attend to eight tokens in each direction."""
    return ModelConfig(
        vocab_size=101,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=2,
        local_attention=16,
        max_position_embeddings=512,
        pad_token_id=PAD,
        cls_token_id=CLS,
        sep_token_id=SEP,
    )


@pytest.fixture
def random_model() -> RandomModel:
    """Make a model in which every parameter, including norms and biases, is random and affects the output."""

    def make(config: ModelConfig, seed: int = 0) -> MaskedLM:
        generator = torch.Generator().manual_seed(seed)
        model = MaskedLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                matrix = parameter.dim() == 2
                parameter.copy_(noise * parameter.shape[-1] ** -0.5 if matrix else 1 + 0.2 * noise)
        return model.eval()

    return make


@pytest.fixture
def packed() -> Packed:
    """Random tokens, never [PAD], for sequences of the given lengths."""

    def make(config: ModelConfig, lengths: Sequence[int], seed: int = 0) -> tuple[Tensor, PackedBatch]:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(SEP + 1, config.vocab_size, (sum(lengths),), generator=generator)
        return ids, PackedBatch.from_lengths(lengths, "cpu")

    return make


@pytest.fixture
def random_config() -> RandomConfig:
    """Make a random architecture: widths, depth, pattern of layers, window and thetas all vary."""

    def make(seed: int) -> ModelConfig:
        rng = random.Random(seed)
        heads = rng.choice([1, 2, 3])
        return ModelConfig(
            vocab_size=rng.randint(40, 150),
            hidden_size=heads * rng.choice([8, 16, 64]),
            intermediate_size=rng.randint(5, 70),
            num_hidden_layers=rng.randint(1, 6),
            num_attention_heads=heads,
            global_attn_every_n_layers=rng.randint(1, 4),
            local_attention=rng.choice([2, 8, 32, 128]),
            global_rope_theta=rng.choice([160_000.0, 1_000.0]),
            local_rope_theta=rng.choice([10_000.0, 100.0]),
            norm_eps=rng.choice([1e-5, 1e-6]),
            pad_token_id=PAD,
            cls_token_id=CLS,
            sep_token_id=SEP,
        )

    return make


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Reference:
    """transformers' ModernBertForMaskedLM with the same architecture and weights."""
    # Its random weights are overwritten immediately, and sampling them at base size takes half a minute.
    monkeypatch.setattr(transformers.ModernBertPreTrainedModel, "_init_weights", lambda self, module: None)

    def make(model: MaskedLM, attention: str = "sdpa") -> transformers.PreTrainedModel:
        fields = model.config.model_dump()
        config = transformers.ModernBertConfig(**fields, bos_token_id=CLS, eos_token_id=SEP)
        config._attn_implementation = attention
        theirs = transformers.ModernBertForMaskedLM(config).eval()
        theirs.load_state_dict(model.state_dict())
        return theirs

    return make


@pytest.fixture
def padded() -> Padded:
    """The packed tokens as a padded (B, longest) batch and its attention mask."""

    def make(ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = torch.nn.utils.rnn.pad_sequence(ids.split(list(lengths)), batch_first=True, padding_value=PAD)
        mask = torch.arange(rows.shape[1]) < torch.tensor(lengths)[:, None]
        return rows, mask.long()

    return make
