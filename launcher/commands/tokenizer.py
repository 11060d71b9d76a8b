"""`cmbert tokenizer`: train a new tokenizer, or extend an existing one."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import DATA
from ...configs.preconditions import Check, check_all
from ...configs.progress import Progress
from ...configs.reporting import suggest
from ...storage.files import require_writable
from ..interface.next_steps import settings
from ..interface.options import DataOverrides, DataRecipe
from ..interface.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from ...streaming_data.corpora.readers import AnySource
    from ...streaming_data.prepare.config import PrepareConfig

app = typer.Typer(cls=SuggestingGroup, help="Train and extend tokenizers.", no_args_is_help=True)
logger = logging.getLogger(__name__)


@app.command()
def train(
    recipe: DataRecipe,
    vocab_size: Annotated[int, typer.Option(help="Tokens, including special tokens; ModernBERT has 50,368.")] = 8192,
    out: Annotated[Path | None, typer.Option(help="Output directory. Default: the recipe's `tokenizer`.")] = None,
    overrides: DataOverrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Train a byte-level BPE tokenizer on the sources of a data recipe, without the held-out split.

    Example: cmbert tokenizer train data/demo --vocab-size 8192
    """
    from ...storage.preconditions import check_writable
    from ...streaming_data.prepare.config import PrepareConfig
    from ...streaming_data.prepare.inputs import source_checks
    from ...streaming_data.tokenizer.tokenizer import check_vocab_size, require_new
    from ...streaming_data.tokenizer.tokenizer import train as train_tokenizer

    config = load(PrepareConfig, locate_recipe(recipe, DATA), overrides)
    directory = out or config.tokenizer
    checks: list[Check] = [
        lambda: check_vocab_size(vocab_size),
        lambda: require_new(directory),
        lambda: check_writable(directory),
    ]
    check_all([*checks, *source_checks(config.sources)])
    _share_unless_restricted(config)
    texts = (text for source in config.sources for text in _training_texts(config, source))
    size = train_tokenizer(texts, vocab_size, directory, config.seq_length)
    typer.echo(f"tokenizer: {directory}, {size:,} tokens")
    if size < vocab_size:
        logger.warning("there is too little text for %s tokens", f"{vocab_size:,}")
    changed = [] if out is None else [f"tokenizer={out}"]
    suggest(["data", "prepare", recipe, *settings([*overrides, *changed])])


@app.command()
def extend(
    recipe: DataRecipe,
    out: Annotated[Path, typer.Option(help="New directory for the tokenizer, and for the extended model.")],
    tokens: Annotated[int, typer.Option(min=1, help="Number of tokens to add.")] = 4096,
    model: Annotated[
        Path | None, typer.Option(help="A Hugging Face ModernBERT whose embedding is extended too.")
    ] = None,
    overrides: DataOverrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Add tokens for frequent words of your text to the recipe's tokenizer, and to a model that uses it.

    The embedding of a new token is initialized to the mean of the tokens it replaces. Existing token ids do not change.

    Example: cmbert tokenizer extend data/clinical --tokens 4096 --model models/modernbert-base --out models/extended
    """
    from ...storage.files import stage_directory
    from ...storage.preconditions import check_new
    from ...streaming_data.prepare.config import PrepareConfig
    from ...streaming_data.prepare.inputs import source_checks
    from ...streaming_data.tokenizer import extend as extending
    from ...streaming_data.tokenizer import tokenizer as tokenizers

    config = load(PrepareConfig, locate_recipe(recipe, DATA), overrides)
    checks: list[Check] = [
        lambda: check_new(out, "choose a new directory"),
        lambda: extending.check_extension(tokenizers.load(config.tokenizer), tokens),
        lambda: _check_model(model, config.tokenizer, tokens, out) if model else None,
    ]
    check_all([*checks, *source_checks(config.sources)])
    require_writable(out)
    _share_unless_restricted(config)
    tokenizer = tokenizers.load(config.tokenizer)
    counts = {
        source.name: extending.count_words(tokenizer, _training_texts(config, source)) for source in config.sources
    }
    extension = extending.learn(sum(counts.values(), Counter()), tokens, tokenizer.vocab_size)
    with stage_directory(out) as directory:
        size = extending.write(tokenizer, extension, directory)
        if model is not None:
            _extend_model(model, extension.first_id, extension.expansions(), size, directory)
    typer.echo(f"{len(extension.merges):,} tokens added, {size:,} in total: {out}")
    for name, words in counts.items():
        before, after = extending.fertility(words), extending.fertility(words, extension.words)
        typer.echo(f"{name}: {before:.3f} tokens per word before, {after:.3f} after, in {words.total():,} words")
    suggest(["data", "prepare", recipe, *settings([*overrides, f"tokenizer={out}", "output=NEW_DIRECTORY"])])


def _check_model(model: Path, tokenizer: Path, tokens: int, out: Path) -> None:
    """Check the model's files, that the tokenizer is the model's, and that there is room for the extended model."""
    from ...model.hugging_face_config import read_config
    from ...storage.preconditions import check_free
    from ...streaming_data.tokenizer import tokenizer as tokenizers
    from ...training.recipe.start import require_weights

    config = read_config(model)
    require_weights(model)
    size = tokenizers.load(tokenizer).vocab_size
    if config.vocab_size < size:
        raise UserError(
            f"{model}: vocab_size is {config.vocab_size:,}, below the {size:,} tokens of {tokenizer}; use the "
            "model's own tokenizer"
        )
    extended = config.model_copy(update={"vocab_size": size + tokens})
    check_free(out, 4 * extended.num_parameters, "the extended model")


def _extend_model(source: Path, first_id: int, pieces: list[tuple[int, ...]], size: int, directory: Path) -> None:
    from ...model.hugging_face import read_config, read_weights, write_pretrained
    from ...model.vocabulary import extend_vocabulary

    config = read_config(source)
    write_pretrained(*extend_vocabulary(read_weights(source, config), config, first_id, pieces, size), directory)


def _share_unless_restricted(config: "PrepareConfig") -> None:
    """Let others read the files unless a source is restricted: tokens are words of the text."""
    from ...streaming_data.shards.restricted import share_unless_restricted

    share_unless_restricted({source.name: source for source in config.sources})


def _training_texts(config: "PrepareConfig", source: "AnySource") -> Iterator[str]:
    from ...streaming_data.corpora.readers import input_files
    from ...streaming_data.division.parts import read_documents
    from ...streaming_data.documents.document import is_held_out

    with Progress(f"reading {source.name}", unit="documents") as progress:
        for file in input_files(source):
            for document in read_documents(source, file):
                progress.advance()
                if not is_held_out(document, source.split_by, config.held_out, config.seed):
                    yield document.text
