"""`cmbert import`: any start as a Hugging Face directory, after comparisons with transformers."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...configs.errors import UserError
from ...kernels.packed import PackedBatch
from ...model.hugging_face import assemble, write_pretrained
from ...model.masked_lm import MaskedLM
from ...model.origin import IMPORT_RECORD, ImportRecord
from ...model.start import Start
from ...storage.files import stage_directory
from .numerics_check import require_close

_CHECKED_LENGTHS = (1, 2, 97, 200)
_COPIED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "training.json")


def convert(start: Start, out: Path, new_head_seed: int | None = None) -> ImportRecord:
    """Write the model, its tokenizer and a record of both into the new directory `out`.

    Args:
        new_head_seed: take only the encoder, and make the head and the decoder's bias new from this seed.
    Raises:
        UserError: the weights do not fit, or transformers computes something else from what was written, or from the
            source.
    """
    weights = start.read(new_head_seed)
    ours = assemble(start.config, weights).eval()
    with stage_directory(out) as staging:
        write_pretrained(weights, start.config, staging)
        if isinstance(start.tokenizer, Mapping):
            from ...model.composer import write_tokenizer

            write_tokenizer(start.tokenizer, staging)
        else:
            for name in _COPIED:
                if (start.tokenizer / name).is_file():
                    shutil.copyfile(start.tokenizer / name, staging / name)
        proven, not_proven = _compare(start, ours, staging, keeps_head=new_head_seed is None)
        origin, parsed = start.origin(new_head_seed), start.parsed
        record = ImportRecord(
            **origin.model_dump(exclude={"imported"}),
            imported=True,
            notes=parsed.notes,
            warnings=parsed.warnings,
            proven=tuple(proven),
            not_proven=tuple(not_proven),
        )
        (staging / IMPORT_RECORD).write_text(json.dumps(record.model_dump(), indent=1) + "\n", encoding="utf-8")
    return record


def _compare(start: Start, ours: MaskedLM, written: Path, keeps_head: bool) -> tuple[list[str], list[str]]:
    """Compare with transformers what was written and, where transformers reads it, the source; proofs, and gaps."""
    try:
        import transformers
    except ImportError:
        return [], ["nothing was compared: transformers is not installed"]
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    version = f"transformers {transformers.__version__}"
    largest = _difference(ours, written, "AutoModelForMaskedLM", version, strict=True)
    proven = [
        f"{version} reads what was written: 0 tensors missing, 0 unexpected",
        f"its logits of random text are equal, packed against one sequence at a time (<= {largest:.1e})",
    ]
    if start.kind == "composer":
        return proven, ["the source was not compared: transformers does not read composer's files"]
    if start.parsed.misread:
        return proven, ["the source was not compared: transformers computes something else from it, see the warnings"]
    head = "AutoModelForMaskedLM" if keeps_head else "AutoModel"
    source = start.path if start.kind == "hugging face" else _fetched(start)
    largest = _difference(ours, source, head, version, strict=keeps_head)
    outputs = "logits" if keeps_head else "hidden states"
    return [*proven, f"{version} computes the same {outputs} from the source (<= {largest:.1e})"], []


def _fetched(start: Start) -> Path:
    from ...storage import hub

    return hub.fetch(Path(start.address)).directory


@torch.no_grad()
def _difference(ours: MaskedLM, directory: Path, kind: str, version: str, strict: bool) -> float:
    """The largest difference between outputs of both implementations on random tokens.

    Args:
        kind: the class of transformers; of `AutoModel` the hidden states are compared, else the logits.
        strict: no tensor may be missing or unexpected.
    Raises:
        UserError: they differ.
    """
    import transformers

    loads: Any = getattr(transformers, kind)
    theirs, report = loads.from_pretrained(
        directory, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
    )
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys") if strict else ("missing_keys", "mismatched_keys")
    if wrong := {kind: sorted(map(str, report[kind]))[:5] for kind in kinds if report.get(kind)}:
        raise UserError(f"{directory}: {version} does not read it completely: {wrong}; nothing was written")
    config = ours.config
    lengths = [min(length, config.max_position_embeddings) for length in _CHECKED_LENGTHS]
    tokens = torch.randint(config.vocab_size, (sum(lengths),), generator=torch.Generator().manual_seed(0))
    batch, rows = PackedBatch.from_lengths(lengths, "cpu"), torch.arange(len(tokens))
    packed = ours.model(tokens, batch, rows) if kind == "AutoModel" else ours.logits(tokens, batch, rows)
    separate = torch.cat([theirs.eval()(input_ids=row[None])[0][0] for row in tokens.split(lengths)])
    require_close(separate, packed, f"{directory}: transformers computes other outputs", "transformers")
    return float((separate - packed).abs().max())
