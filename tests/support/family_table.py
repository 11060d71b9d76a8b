"""The published configs of the ModernBERT family, shrunk and with random weights: each is imported, or refused.

Run it to print the table of docs/import.md, and with --write to replace it there.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.start import open_start
from clinical_modernbert.training.export.convert import convert

ROOT = Path(__file__).resolve().parents[2]
FAMILY = ROOT / "tests" / "model" / "family"
PAGE = ROOT / "docs" / "import.md"
TABLE = re.compile(r"(?<=<!-- family -->\n\n).*?(?=\n\n<!-- end of family -->)", re.DOTALL)
MASKED_LM = "ModernBertForMaskedLM"


def published() -> dict[str, dict[str, Any]]:
    """The content of each config.json, by the name of its model; names of labels are left out."""
    files = sorted(FAMILY.glob("*__*.json"))
    return {file.stem.replace("__", "/"): json.loads(file.read_text(encoding="utf-8")) for file in files}


def shrink(raw: dict[str, Any]) -> dict[str, Any]:
    """The same model with small sizes: an even number of heads, the pattern of layers, all ids below the vocabulary."""
    heads, layers = 4 if raw["num_attention_heads"] % 4 == 0 else 6, min(raw["num_hidden_layers"], 5)
    small = raw | {"num_attention_heads": heads, "hidden_size": heads * 8, "intermediate_size": 40}
    small |= {"num_hidden_layers": layers, "local_attention": 16, "vocab_size": 128 + raw["vocab_size"] % 32}
    small |= {"max_position_embeddings": min(raw["max_position_embeddings"], 256)}
    if "layer_types" in raw:
        small["layer_types"] = raw["layer_types"][:layers]
    ids = {key: value for key, value in raw.items() if key.endswith("_token_id") and isinstance(value, int)}
    # Equal ids stay equal.
    return small | {key: value if value < 64 else 64 + value % 64 for key, value in ids.items()}


def write_source(raw: dict[str, Any], directory: Path) -> None:
    """The config, with random weights under the names that transformers gives those of its architecture."""
    directory.mkdir()
    # Without its own code, and without settings of a file's precision.
    own = {key: value for key, value in raw.items() if key not in ("auto_map", "torch_dtype", "dtype")}
    (directory / "config.json").write_text(json.dumps(own))
    config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=False)
    torch.manual_seed(0)
    model = getattr(transformers, raw.get("architectures", [MASKED_LM])[0])(config)
    weights = {}
    for name, value in model.named_parameters():
        spread = 0.3 if "norm" in name or "bias" in name else 0.05
        weights[name] = (value + spread * torch.randn_like(value)).detach()
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(raw))


def outcome(raw: dict[str, Any], work: Path) -> str:
    """What becomes of a config: how it was proven equal, or the keys with which it is refused."""
    transformers.utils.logging.set_verbosity_error()
    write_source(shrink(raw), work / "source")
    try:
        start = open_start(work / "source")
        record = convert(start, work / "out", None if start.parsed.has_head else 0)
    except UserError as error:
        return "refused: " + "; ".join(line.strip() for line in str(error).splitlines()[1:])
    head = "head and bias new" if record.new_parameters else "logits"
    compared = "written model" if record.not_proven else "source and written model"
    return f"equal: {head}, {compared}"


def row(name: str, raw: dict[str, Any], work: Path) -> str:
    result = outcome(raw, work)
    keys = {"warnings": "", "notes": ""}
    if result.startswith("equal"):
        parsed = open_start(work / "source").parsed
        for kind in keys:
            found = [line.partition(":")[0] for line in getattr(parsed, kind)]
            keys[kind] = ", ".join(f"`{key}`" for key in found[:4]) + (f" and {len(found) - 4} more" * (len(found) > 4))
    kind = raw.get("architectures", ["-"])[0].removeprefix("ModernBert")
    sizes = f"{raw['vocab_size']:,}, {raw['max_position_embeddings']:,}"
    return f"| {name} | {kind} | {sizes} | {result} | {keys['warnings']} | {keys['notes']} |"


def table() -> str:
    """The table as it is on the page."""
    rows = []
    for name, raw in published().items():
        with tempfile.TemporaryDirectory() as work:
            rows.append(row(name, raw, Path(work)))
    header = "| model | architecture | vocabulary, positions | outcome | warned of | ignored keys |"
    return "\n".join([header, "|---|---|---:|---|---|---|", *rows])


if __name__ == "__main__":
    if "--write" in sys.argv:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLE.sub(lambda _: table(), page), encoding="utf-8")
    else:
        print(table())
