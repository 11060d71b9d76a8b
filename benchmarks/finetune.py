"""Compare an epoch of fine-tuning with transformers' Trainer on a CPU: the same encoder, data and examples per batch.

    CMBERT_TEST_DATA=data python benchmarks/finetune.py [--rounds 3]

Three contenders take turns: ours, which computes no padding; the Trainer with its padding collator; and the Trainer
that also draws batches of similar lengths. The encoder is small and random. Processor time does not count what others
do on the machine; the median of the rounds counts. Trainer needs the package accelerate. Prints a Markdown table.
docs/proof.md lists the source of each file of the data directory.
"""

import argparse
import gzip
import os
import random
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from lxml import etree

from clinical_modernbert.benchmarks.proof import find_files
from clinical_modernbert.configs.libraries import hide_torchvision
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.evaluation.fine_tuning.classifier import Example, train_classifier
from clinical_modernbert.evaluation.fine_tuning.head_config import HeadConfig
from clinical_modernbert.evaluation.fine_tuning.kind import FineTunedKind
from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.classification import CLASSIFICATION, ClassificationTask, LabeledText
from clinical_modernbert.evaluation.tasks.ner import NER, NerTask
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import save_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.tokenizer import tokenizer

FILES = {"sentences": "eval/NCBI-disease-IOB/train.tsv*", "abstracts": "pubmed/example_400_from_21n1298.xml.gz"}
MAX_LENGTH, SENTENCES, TEXTS = 2048, 160, 64
ABSTRACTS = (1, 1, 1, 1, 1, 1, 2, 4)
"""In a text; some texts are titles only. Many short ones and few long ones, as in the notes of a hospital."""
Epoch = Callable[[], object]
Encoded = tuple[HeadConfig, list[Example]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", default=os.environ.get("CMBERT_TEST_DATA"), help="or CMBERT_TEST_DATA")
    options = parser.parse_args()
    files = find_files(options.data, FILES, "docs/proof.md")
    hide_torchvision()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    texts = mixed_texts(files["abstracts"][0])
    with TemporaryDirectory() as directory:
        model = small_model(Path(directory), [text.text for text in texts])
        print("| examples | contender | processor s per epoch | wall s | of ours |\n| --- | --- | --- | --- | --- |")
        for name, (head, examples) in {
            f"{SENTENCES} sentences of NCBI-disease": sentences(model, files["sentences"][0]),
            f"{TEXTS} texts of PubMed": classified(model, texts),
        }.items():
            report(name, examples, contenders(model, head, examples), options.rounds)


def report(name: str, examples: Sequence[Example], epochs: dict[str, Epoch], rounds: int) -> None:
    taken: dict[str, list[tuple[float, float]]] = {who: [] for who in epochs}
    for _ in range(rounds):
        for who, epoch in epochs.items():
            processor, wall = time.process_time(), time.perf_counter()
            epoch()
            taken[who].append((time.process_time() - processor, time.perf_counter() - wall))
    lengths = sorted(example.tokens() for example in examples)
    shown = f"{name}, {lengths[0]} to {lengths[-1]:,} tokens, median {lengths[len(lengths) // 2]}"
    median = {who: [statistics.median(values) for values in zip(*pairs, strict=True)] for who, pairs in taken.items()}
    for who, (processor, wall) in median.items():
        print(f"| {shown} | {who} | {processor:.1f} | {wall:.1f} | {processor / median['ours'][0]:.2f} |", flush=True)


def contenders(model: EvaluatedModel, head: HeadConfig, examples: Sequence[Example]) -> dict[str, Epoch]:
    protocol = Protocol(epochs=1)
    return {
        "ours": lambda: train_classifier(model, examples, head, protocol, 0),
        "Trainer": trainer(model, head, examples, protocol, "random"),
        "Trainer, similar lengths": trainer(model, head, examples, protocol, "group_by_length"),
    }


def trainer(
    model: EvaluatedModel, head: HeadConfig, examples: Sequence[Example], protocol: Protocol, order: str
) -> Epoch:
    tokens = head.rows == "tokens"
    kind = "AutoModelForTokenClassification" if tokens else "AutoModelForSequenceClassification"
    collator = "DataCollatorForTokenClassification" if tokens else "DataCollatorWithPadding"
    rows = [as_row(example) for example in examples]

    def epoch() -> None:
        theirs = getattr(transformers, kind).from_pretrained(model.directory, trust_remote_code=False, **head.entries())
        with TemporaryDirectory() as out:
            arguments = transformers.TrainingArguments(
                out,
                per_device_train_batch_size=protocol.batch,
                num_train_epochs=1,
                learning_rate=2e-5,
                weight_decay=protocol.weight_decay,
                train_sampling_strategy=order,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            )
            padded = getattr(transformers, collator)(model.tokenizer)
            transformers.Trainer(theirs, arguments, data_collator=padded, train_dataset=rows).train()

    return epoch


def as_row(example: Example) -> dict[str, Any]:
    """The example as the Trainer takes it."""
    [ids] = example.windows
    if example.positions is None:
        return {"input_ids": ids.tolist(), "labels": int(example.labels)}
    labels = torch.full((len(ids),), -100)
    labels[example.positions] = example.labels
    return {"input_ids": ids.tolist(), "labels": labels.tolist()}


def small_model(directory: Path, texts: Sequence[str]) -> EvaluatedModel:
    words, out = directory / "tokenizer", directory / "model"
    tokenizer.train(texts, 8192, words, max_length=MAX_LENGTH)
    config = ModelConfig(
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=384,
        num_hidden_layers=8,
        num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
    )
    model = MaskedLM(config)
    initialize(model, seed=0)
    save_pretrained(model.state_dict(), config, out)
    for file in words.iterdir():
        shutil.copyfile(file, out / file.name)
    return open_model(str(out))


def sentences(model: EvaluatedModel, file: Path) -> Encoded:
    task = NerTask(kind="ner", train=file.name, test=file.name)
    return encoded(model, NER, task, NER.read(task, file.parent).train[:SENTENCES])


def classified(model: EvaluatedModel, texts: Sequence[LabeledText]) -> Encoded:
    return encoded(
        model, CLASSIFICATION, ClassificationTask(kind="classification", train="", test="", long="cut"), texts
    )


def encoded(model: EvaluatedModel, kind: FineTunedKind, task: Any, examples: Sequence[Any]) -> Encoded:
    labels = kind.labels(task, examples)
    return kind.head(task, labels, Protocol()), kind.encode(model, task, examples, labels)


def mixed_texts(path: Path) -> list[LabeledText]:
    """Titles, abstracts, and several abstracts in one text; the class is whether the first one is structured."""
    with gzip.open(path) as file:
        articles = [
            (text_of(article.find(".//ArticleTitle")), article.findall(".//AbstractText"))
            for article in etree.fromstring(file.read()).iterfind(".//Article")
        ]
    draw = random.Random(0)
    texts = []
    for _ in range(TEXTS):
        chosen = draw.sample([(title, parts) for title, parts in articles if parts], draw.choice(ABSTRACTS))
        bodies = [" ".join(map(text_of, parts)) for _, parts in chosen]
        text = chosen[0][0] if draw.random() < 0.25 else " ".join(bodies)
        texts.append(LabeledText(text, str(len(chosen[0][1]) > 1)))
    return texts


def text_of(element: Any) -> str:
    return "".join(element.itertext())


if __name__ == "__main__":
    run_program(main)
