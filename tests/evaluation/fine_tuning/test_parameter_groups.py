"""Learning rates by depth, for the names of several families of encoders."""

import pytest
from torch import nn

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.fine_tuning.head_config import HeadConfig
from clinical_modernbert.evaluation.fine_tuning.heads import add_head
from clinical_modernbert.evaluation.fine_tuning.parameter_groups import depths_below_head, parameter_groups
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol

NAMES = {
    # name of a parameter: its depth below the head, of an encoder with 12 layers
    "model.embeddings.tok_embeddings.weight": 13,
    "model.layers.0.mlp_norm.weight": 12,
    "model.layers.11.attn.Wqkv.weight": 1,
    "model.final_norm.weight": 0,
    "bert.embeddings.LayerNorm.bias": 13,
    "roberta.encoder.layer.0.attention.self.query.weight": 12,
    "distilbert.transformer.layer.5.ffn.lin1.weight": 7,
    "electra.embeddings_project.weight": 13,
    "deberta.encoder.rel_embeddings.weight": 13,
    "encoder.block.3.layer.1.DenseReluDense.wi.weight": 9,
    "transformer.h.11.ln_1.weight": 1,
    "bert.pooler.dense.weight": 0,
    "classifier.bias": 0,
}


def test_depths_of_names() -> None:
    assert depths_below_head(list(NAMES)) == NAMES


@pytest.mark.parametrize("which", ["ours", "bert"])
def test_rates_fall_towards_the_embeddings(which: str, request: pytest.FixtureRequest) -> None:
    model: EvaluatedModel = request.getfixturevalue(which)
    classifier = add_head(model, HeadConfig(rows="texts", labels=("a", "b")))
    groups = parameter_groups(classifier, Protocol(layer_decay=0.5), 1.0)
    rates = {id(value): group["lr"] for group in groups for value in group["params"]}
    named = {name: rates[id(value)] for name, value in classifier.named_parameters()}
    assert len(rates) == len(named)
    layers = sorted({rate for name, rate in named.items() if ".layer" in name})
    assert layers == [0.5**depth for depth in range(len(layers), 0, -1)]
    assert {rate for name, rate in named.items() if "embeddings" in name} == {layers[0] / 2}
    assert {rate for name, rate in named.items() if "classifier" in name} == {1.0}
    one = parameter_groups(classifier, Protocol(), 1.0)
    assert [(group["lr"], group["weight_decay"]) for group in one] == [(1.0, 0.01), (1.0, 0.0)]


def test_a_model_without_layers_is_an_error() -> None:
    with pytest.raises(UserError, match=r"layer_decay: no layers in the names .*such as weight; set it to 1"):
        parameter_groups(nn.Linear(2, 2), Protocol(layer_decay=0.9), 1.0)
