"""Export of a checkpoint as a Hugging Face model directory, after a check that transformers computes the same."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ...configs.progress import Progress
from ...kernels.packed import PackedBatch
from ...model.config import ModelConfig
from ...model.hugging_face import assemble, write_pretrained
from ...model.sentence_embedding import write_sentence_embedding
from ...storage.files import stage_directory
from ...streaming_data.shards.restricted import every_source, share_unless_restricted
from ..checkpoint.manifest import read_manifest
from ..checkpoint.save_load import consolidate
from ..checkpoint.shard_reader import AVERAGE, WEIGHTS
from .bias import read_probes
from .inputs import TRAINING, check_export, find_checkpoint
from .model_card import model_card
from .numerics_check import require_close
from .onnx import write_onnx
from .privacy import Privacy
from .public import provenance, public_tree
from .reference import write_reference
from .scores import read_scores

_CHECKED_LENGTHS = (1, 2, 97, 200)


def export_checkpoint(
    run: Path,
    out: Path,
    evaluations: Sequence[Path] = (),
    sentence_embedding: bool = False,
    onnx: bool = False,
    average: bool = False,
    privacy: Privacy = Privacy(),  # noqa: B008 - immutable
) -> None:
    """Write the newest checkpoint of a run, or the checkpoint `run`, to the new directory `out`.

    Args:
        run: directory of a run or of one checkpoint.
        evaluations: directories with results for the model card, in addition to the run's own `evaluation`.
        sentence_embedding: whether to add the files that sentence-transformers needs.
        onnx: whether to add an ONNX graph, of the hidden states with `sentence_embedding`, else of the logits.
        average: whether to export the running average of the weights instead of the weights.
        privacy: what is known of the privacy of these weights.
    Raises:
        UserError: there is no checkpoint, one of its files is corrupt, `out` exists, an evaluation has no results,
            transformers or ONNX Runtime computes different outputs, a library is missing, or `privacy` is about other
            weights.
    """
    check_export(run, out, evaluations, onnx, average)
    path = find_checkpoint(run)
    manifest = read_manifest(path)
    share_unless_restricted(every_source(manifest.sources, manifest.initial_sources))
    config = manifest.model
    scores = read_scores(path.parent.parent, evaluations)
    probes = read_probes(path.parent.parent, evaluations)
    with stage_directory(out) as staging, Progress("exporting", 4 if onnx else 3, "steps") as progress:
        weights = consolidate(path, AVERAGE if average else WEIGHTS)
        privacy.check(assemble(config, weights))
        progress.advance()
        write_pretrained(weights, config, staging)
        _copy_tokenizer(path.parent.parent / "tokenizer", staging, config.max_position_embeddings)
        card = model_card(manifest, config, scores, average, probes, privacy)
        (staging / "README.md").write_text(card, encoding="utf-8")
        for name, content in privacy.files.items():
            (staging / name).write_text(content, encoding="utf-8")
        (staging / TRAINING).write_text(json.dumps(provenance(manifest, average), indent=1))
        if sentence_embedding:
            write_sentence_embedding(config.hidden_size, config.max_position_embeddings, staging)
        progress.advance()
        require_equal_logits(weights, config, staging)
        progress.advance()
        write_reference(staging)
        if onnx:
            write_onnx(staging, hidden_states=sentence_embedding)


def require_equal_logits(weights: Mapping[str, torch.Tensor], config: ModelConfig, directory: Path) -> None:
    """Compare the model that transformers loads from `directory` with this project's model, on random tokens."""
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    theirs = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32, trust_remote_code=False).eval()
    ours = assemble(config, weights).eval()
    lengths = [min(length, config.max_position_embeddings) for length in _CHECKED_LENGTHS]
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.vocab_size, (sum(lengths),), generator=generator)
    with torch.no_grad():
        packed = ours.logits(tokens, PackedBatch.from_lengths(lengths, "cpu"), torch.arange(len(tokens)))
        separate = torch.cat([theirs(input_ids=row[None]).logits[0] for row in tokens.split(lengths)])
    require_close(separate, packed, "transformers computes different logits from the exported model", "transformers")


def _copy_tokenizer(directory: Path, staging: Path, longest: int) -> None:
    """Copy contents only, since modes are those of a new file; the configuration has names in place of paths.

    A tokenizer that would cut texts before the model's longest sequence does so no longer.
    """
    for file in directory.iterdir():
        shutil.copyfile(file, staging / file.name)
    config = staging / "tokenizer_config.json"
    written = json.loads(config.read_text(encoding="utf-8"))
    public = public_tree(written)
    if (limit := written.get("model_max_length")) is not None and limit < longest:
        public["model_max_length"] = longest
    if public != written:
        config.write_text(json.dumps(public, indent=2) + "\n", encoding="utf-8")
