"""An accelerated model of transformers gives the outputs and gradients of the same model as it was."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_fixtures import RandomConfig
from torch import Tensor, nn

from clinical_modernbert.model.accelerate import accelerate
from clinical_modernbert.model.config import ModelConfig

LENGTHS = [50, 7, 1, 33]
KINDS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "Model")


def their_model(config: ModelConfig, kind: str, **settings: Any) -> Any:
    values = {**config.model_dump(), "attn_implementation": "sdpa", "num_labels": 3, **settings}
    torch.manual_seed(0)
    model = getattr(transformers, f"ModernBert{kind}")(transformers.ModernBertConfig(**values))
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(noise * parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 1 + 0.2 * noise)
    return model.eval()


def batch(config: ModelConfig, side: str = "right") -> tuple[Tensor, Tensor]:
    """Token ids (B, L) and their mask, padded on a side."""
    draw, longest = torch.Generator().manual_seed(1), max(LENGTHS)
    ids = torch.full((len(LENGTHS), longest), config.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        real = slice(0, length) if side == "right" else slice(longest - length, longest)
        ids[row, real] = torch.randint(3, config.vocab_size, (length,), generator=draw)
        mask[row, real] = 1
    return ids, mask


def scores(model: Any, ids: Tensor, mask: Tensor, **options: Any) -> Tensor:
    """What the model returns at real tokens, or for each sequence."""
    result = model(input_ids=ids, attention_mask=mask, **options)
    values: Tensor = result.logits if "logits" in result else result.last_hidden_state
    return values[mask.bool()] if values.shape[:2] == mask.shape else values


def gradients(model: nn.Module) -> dict[str, Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_gradients_are_those_of_transformers(kind: str, side: str, config: ModelConfig) -> None:
    model = their_model(config, kind, classifier_pooling="mean")
    ids, mask = batch(config, side)
    results = []
    for change in (lambda model: model, accelerate):
        outputs = scores(change(model), ids, mask)
        outputs.square().sum().backward()
        results.append((outputs.detach(), gradients(model)))
    (theirs, their_gradients), (ours, our_gradients) = results
    assert not torch.equal(ours, theirs), "the forward was replaced"
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        tolerance = 1e-4 * gradient.abs().max().item()
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-4, atol=tolerance, msg=name)


@pytest.mark.parametrize("seed", range(6))
def test_random_architectures(seed: int, random_config: RandomConfig) -> None:
    config = random_config(seed)
    model = their_model(config, "Model", norm_bias=seed % 2 == 0, mlp_bias=True, attention_bias=seed % 3 == 0)
    ids, mask = batch(config)
    with torch.no_grad():
        theirs = scores(model, ids, mask)
        torch.testing.assert_close(scores(accelerate(model), ids, mask), theirs, rtol=1e-4, atol=1e-4)


def test_hidden_states_without_a_mask_from_embeddings(config: ModelConfig) -> None:
    model = their_model(config, "Model")
    ids, _ = batch(config)
    vectors = model.embeddings.tok_embeddings(ids)
    with torch.no_grad():
        for inputs in ({"input_ids": ids}, {"inputs_embeds": vectors}):
            theirs = model(**inputs, output_hidden_states=True)
            ours = accelerate(copy.deepcopy(model))(**inputs, output_hidden_states=True)
            assert len(ours.hidden_states) == len(theirs.hidden_states) == config.num_hidden_layers + 1
            for one, other in zip(ours.hidden_states, theirs.hidden_states, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_it_is_trained_copied_checkpointed_and_saved_as_before(config: ModelConfig, tmp_path: Path) -> None:
    model = accelerate(their_model(config, "ForSequenceClassification"))
    ids, mask = batch(config)
    scores(model.train(), ids, mask).sum().backward()
    expected = gradients(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.classifier.bias.add_(1)
        assert not torch.equal(scores(twin, ids, mask), scores(model, ids, mask))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    scores(model, ids, mask).sum().backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(scores(again.eval(), ids, mask), scores(model.eval(), ids, mask), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_packed_goes_the_old_way(config: ModelConfig) -> None:
    model = their_model(config, "Model")
    ids, mask = batch(config)
    holes = mask.clone()
    holes[0, 3:9] = 0
    positions = torch.arange(ids.shape[1])[None] * 2
    cases: list[dict[str, Any]] = [{"attention_mask": holes}, {"attention_mask": mask, "position_ids": positions}]
    with torch.no_grad():
        for case in cases:
            theirs = model(input_ids=ids, **case).last_hidden_state
            ours = accelerate(copy.deepcopy(model))(input_ids=ids, **case).last_hidden_state
            assert torch.equal(ours, theirs)


def test_automatic_mixed_precision(config: ModelConfig) -> None:
    model = accelerate(their_model(config, "ForMaskedLM"))
    ids, mask = batch(config)
    with torch.no_grad():
        exact = scores(model, ids, mask)
        with torch.autocast("cpu", torch.bfloat16):
            low = scores(model, ids, mask)
    assert ((low - exact).square().mean().sqrt() / exact.square().mean().sqrt()) < 0.03


def test_a_sentence_transformer(config: ModelConfig, tmp_path: Path) -> None:
    reason = "sentence-transformers is an extra: pip install 'clinical-modernbert[evaluation]'"
    sentence_transformers = pytest.importorskip("sentence_transformers", reason=reason)
    from small_data import write_small_data

    directory = write_small_data(tmp_path / "data", packs=2) / "tokenizer"
    small = ModelConfig.model_validate(config.model_dump() | {"vocab_size": 128})
    their_model(small, "Model").save_pretrained(directory)
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")  # with mean pooling
    texts = ["w5 w6 w7", "w9", "w20 w21 w22 w23 w24 w25"]
    theirs = model.encode(texts)
    torch.testing.assert_close(
        torch.tensor(accelerate(model).encode(texts)), torch.tensor(theirs), rtol=1e-4, atol=1e-5
    )


def test_other_models_are_refused() -> None:
    with pytest.raises(ValueError, match="Linear contains no ModernBertModel"):
        accelerate(nn.Linear(2, 2))
