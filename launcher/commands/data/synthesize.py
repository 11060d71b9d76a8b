"""`cmbert data synthesize`."""

from pathlib import Path
from typing import Annotated

import typer

from ....configs.reporting import suggest


def synthesize(
    out: Annotated[Path, typer.Option(help="Directory for discharge.csv and radiology.csv.")],
    notes: Annotated[int, typer.Option(min=1, help="Total number of notes of both kinds.")] = 1500,
    seed: Annotated[int, typer.Option(help="Random seed of the notes.")] = 0,
) -> None:
    """Generate synthetic notes with the columns of MIMIC-IV-Note, each marked as synthetic.

    Example: cmbert data synthesize --out runs/demo/notes
    """
    from ....streaming_data.shards.restricted import share_unless_restricted
    from ....streaming_data.synthetic.notes import write

    share_unless_restricted({})
    paths = write(out, notes, seed)
    for path in paths:
        typer.echo(f"wrote {path}")
    # The source of notes in the recipe of the demo.
    sources = f"sources.2.paths=[{', '.join(map(str, paths))}]"
    suggest(["tokenizer", "train", "data/demo", "--vocab-size", "4096", "--set", sources])
