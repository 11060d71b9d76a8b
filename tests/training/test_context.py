"""A stage that extends a context: other angles from its first step, exported so, refused where nothing is longer."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_data import write_small_data
from small_run import SmallRun
from transformers import AutoModelForMaskedLM, AutoTokenizer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.hugging_face import assemble, read_config, read_weights, save_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.training.export.export import export_checkpoint
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.recipe.start import starting_model
from clinical_modernbert.training.run import build_model

SHORT, LONG, THETA = 256, 1024, 640_000.0


@pytest.fixture(scope="module")
def long_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("long"), packs=12, seq_length=LONG)


@pytest.fixture
def extension(long_data: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Makes recipes that extend a model of SHORT tokens."""
    from small_run import RECIPE

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    scratch = load(RunConfig, recipe, [f"model.max_position_embeddings={SHORT}", "model.initializer_range=0.3"])
    assert scratch.model is not None
    model = MaskedLM(scratch.model)
    initialize(model, seed=3)
    save_pretrained(model.state_dict(), scratch.model, tmp_path / "model")

    def make(*overrides: str) -> RunConfig:
        context = [f"context.max_position_embeddings={LONG}", f"context.global_rope_theta={THETA}"]
        data = [f"data.path={long_data}", f"data.seq_length={LONG}", "schedule.seq_length=[]"]
        start = ["model=null", f"initial_weights={tmp_path / 'model'}", f"run_dir={tmp_path / 'run'}"]
        return load(RunConfig, recipe, [*start, *data, *(overrides or context)])

    return make


def test_the_extended_model_computes_what_transformers_computes_with_that_base(
    extension: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = extension()
    model = build_model(config, open_dataset(config.data, config.seed)).eval()
    assert (model.config.max_position_embeddings, model.config.global_rope_theta) == (LONG, THETA)
    assert model.config.local_rope_theta == 10_000
    changed = json.loads((tmp_path / "model/config.json").read_text())
    changed |= {"global_rope_theta": THETA, "max_position_embeddings": LONG}
    (tmp_path / "model/config.json").write_text(json.dumps(changed))
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "model").eval()
    tokens = torch.randint(5, 128, (LONG,), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.logits(tokens, PackedBatch.from_lengths([LONG], "cpu"), torch.arange(LONG))
        expected = theirs(input_ids=tokens[None]).logits[0]
    assert torch.allclose(ours, expected, atol=2e-4)
    before = read_config(tmp_path / "model").model_copy(update={"global_rope_theta": 160_000.0})
    unchanged = assemble(before, read_weights(tmp_path / "model", before)).eval()
    with torch.no_grad():
        old = unchanged.logits(tokens, PackedBatch.from_lengths([LONG], "cpu"), torch.arange(LONG))
    assert (old - expected).abs().max() > 1e-2  # the base does matter here


def test_what_extends_nothing_is_refused(extension: Callable[..., RunConfig]) -> None:
    with pytest.raises(UserError, match="max_position_embeddings is 256, but the run has sequences of up to 1,024"):
        starting_model(extension("seed=1"))
    for context, message in (
        (
            "{max_position_embeddings: 512, global_rope_theta: 2e5}",
            "context.max_position_embeddings is 512, but the run",
        ),
        ("{max_position_embeddings: 128, global_rope_theta: 2e5}", "is 128, below the 256 of the model"),
        ("{max_position_embeddings: 1024, global_rope_theta: 1e4}", "is 10000, below the 160000 of the model"),
    ):
        with pytest.raises(UserError, match=message):
            starting_model(extension(f"context={context}"))
    with pytest.raises(UserError, match="from scratch, set max_position_embeddings and global_rope_theta"):
        load(RunConfig, find_recipe("tiny"), ["context={max_position_embeddings: 16384, global_rope_theta: 4e5}"])


def test_the_recipe_keeps_the_tokens_per_step_of_the_one_that_it_extends() -> None:
    base, longer = (load(RunConfig, find_recipe(name)) for name in ("continue-base", "extend-16k"))
    assert longer.context is not None
    assert longer.context.max_position_embeddings == longer.data.seq_length == 16_384
    tokens = [one.batch.global_batch_size * one.data.seq_length for one in (base, longer)]
    assert tokens[0] == tokens[1]
    assert [one.batch.micro_batch_size * one.data.seq_length for one in (base, longer)] == [32_768] * 2


@pytest.mark.slow
def test_a_run_is_extended_resumed_and_exported(
    new_run: Callable[[], SmallRun], long_data: Path, tmp_path: Path
) -> None:
    first, second = new_run(), new_run()
    short = ["schedule.total_tokens=4096", "schedule.decay_tokens=0", "engine.zero_stage=0"]
    first.train(*short, f"model.max_position_embeddings={SHORT}")
    export_checkpoint(first.run_dir, tmp_path / "short")
    assert AutoTokenizer.from_pretrained(tmp_path / "short").model_max_length == SHORT
    stage = [
        "model=null", f"initial_weights={tmp_path / 'short'}", f"data.path={long_data}", f"data.seq_length={LONG}",
        "schedule.seq_length=[]", "schedule.warmup_tokens=0", "schedule.decay_tokens=0", "engine.zero_stage=0",
        f"context={{max_position_embeddings: {LONG}, global_rope_theta: {THETA}}}", "checkpoint.every_steps=1",
    ]  # fmt: skip
    second.train(*stage, f"schedule.total_tokens={2 * 4 * LONG}")
    second.train(*stage, f"schedule.total_tokens={3 * 4 * LONG}")
    assert [row["step"] for row in second.rows()] == [1, 2, 3]
    refused = second.train(*stage, f"context.global_rope_theta={2 * THETA}", code=2)
    assert "model.global_rope_theta" in refused
    export_checkpoint(second.run_dir, tmp_path / "long")
    config = read_config(tmp_path / "long")
    assert (config.max_position_embeddings, config.global_rope_theta) == (LONG, THETA)
    # The run's tokenizer says SHORT; inputs of the exported model would be cut there.
    assert AutoTokenizer.from_pretrained(tmp_path / "long").model_max_length == LONG
