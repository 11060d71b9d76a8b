"""An extended embedding: old rows are unchanged, new rows are the mean of the tokens they replace."""

import pytest
import torch

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import EMBEDDING, parameter_shapes
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.model.vocabulary import DECODER_BIAS, extend_vocabulary

CONFIG = ModelConfig(
    vocab_size=20,
    hidden_size=16,
    intermediate_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)


def weights() -> dict[str, torch.Tensor]:
    model = MaskedLM(CONFIG)
    initialize(model, seed=3)
    values = {name: value.detach().clone() for name, value in model.named_parameters()}
    values[DECODER_BIAS] = torch.linspace(-1, 1, 20)
    return values


def test_rows() -> None:
    old = weights()
    new, config = extend_vocabulary(old, CONFIG, 18, [(3, 4), (5, 6, 7)], 24)
    assert config == CONFIG.model_copy(update={"vocab_size": 24})
    assert {name: tuple(value.shape) for name, value in new.items()} == parameter_shapes(config)
    for name in (EMBEDDING, DECODER_BIAS):
        assert torch.equal(new[name][:18], old[name][:18])
        torch.testing.assert_close(new[name][18], (old[name][3] + old[name][4]) / 2)
        torch.testing.assert_close(new[name][19], (old[name][5] + old[name][6] + old[name][7]) / 3)
        torch.testing.assert_close(new[name][23], old[name][:18].mean(0))
    assert all(torch.equal(new[name], old[name]) for name in old if name not in (EMBEDDING, DECODER_BIAS))


def test_without_new_tokens_nothing_changes() -> None:
    old = weights()
    new, config = extend_vocabulary(old, CONFIG, 20, [], 20)
    assert config == CONFIG
    assert all(torch.equal(new[name], old[name]) for name in old)


def test_a_model_smaller_than_its_tokenizer_is_rejected() -> None:
    with pytest.raises(UserError, match="20 tokens and its tokenizer 21: they do not match"):
        extend_vocabulary(weights(), CONFIG, 21, [(3, 4)], 64)
