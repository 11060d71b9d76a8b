"""What a run states and checks before its first step."""

from typing import get_args

import pytest
import torch

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.kernels.attention.dispatch import BACKENDS
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.recipe.engine_config import EngineConfig
from clinical_modernbert.training.run import attention_lines

CPU = torch.device("cpu")


@pytest.fixture
def model() -> MaskedLM:
    sizes = {"vocab_size": 16, "hidden_size": 64, "intermediate_size": 16, "num_attention_heads": 1}
    special = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "num_hidden_layers": 1}
    return MaskedLM(ModelConfig.model_validate({**sizes, **special}))


def test_the_backends_of_attention_are_stated_with_their_evidence(model: MaskedLM) -> None:
    expected = ["attention of all layers: torch (measured: docs/kernels.md, On a CPU)"]
    assert attention_lines(EngineConfig(), model, CPU) == expected


def test_a_backend_that_is_not_there_is_the_users_mistake(model: MaskedLM) -> None:
    with pytest.raises(UserError, match=r"engine\.attention_backend=flash3: .*; set engine\.attention_backend=auto"):
        attention_lines(EngineConfig(attention_backend="flash3"), model, CPU)


def test_a_recipe_may_name_every_backend() -> None:
    assert set(get_args(EngineConfig.model_fields["attention_backend"].annotation)) == set(BACKENDS)
