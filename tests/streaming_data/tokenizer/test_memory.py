"""What a worker of `cmbert data prepare` holds: its own pages (USS), which no other process shares."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clinical_modernbert.streaming_data.tokenizer import fast
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

MOST_BYTES = 200 << 20
# Words at random are the worst case: fastokens remembers each, up to 180 MB of them.
PROGRAM = """
import os, random, sys
os.environ["RAYON_NUM_THREADS"] = "1"
from pathlib import Path
from clinical_modernbert.streaming_data.prepare import tokenize
from clinical_modernbert.streaming_data.tokenizer import fast, tokenizer as tokenizers

def own_bytes():
    lines = (line.split() for line in open("/proc/self/smaps_rollup"))
    return 1024 * sum(int(line[1]) for line in lines if line[0].startswith("Private_"))

if sys.argv[2] == "without":
    fast.version = lambda: None
rng = random.Random(0)
loaded = tokenize._load_tokenizer(Path(sys.argv[1]))
assert (loaded.fast._words is None) == (sys.argv[2] == "with")
most = own_bytes()
for _ in range(int(sys.argv[3])):
    letters = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=600_000))
    words = [letters[at : at + 9] for at in range(0, len(letters), 9)]
    texts = [" ".join(words[part::8]) for part in range(8)]
    tokenizers.encode(loaded, texts)
    most = max(most, own_bytes())
print(most)
"""


def most_own_bytes(directory: Path, extra: str, batches: int) -> int:
    """The largest USS of a process that tokenizes so many batches of 600,000 characters."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM, str(directory), extra, str(batches)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="a kernel before Linux 4.14")


@needs_smaps
@pytest.mark.slow
@pytest.mark.parametrize("extra", ["with", "without"])
def test_a_worker_with_modernberts_tokenizer_holds_less_than_200_mb(dev_data: Path, extra: str) -> None:
    if extra == "with" and fast.version() is None:
        pytest.skip("fastokens is not installed")
    # With fastokens, 20 batches filled 279 MB.
    assert most_own_bytes(dev_data / "modernbert_tokenizer", extra, 20 if extra == "with" else 8) < MOST_BYTES


@needs_smaps
@pytest.mark.slow
def test_words_that_fastokens_remembers_are_forgotten(tokenizer: LoadedTokenizer) -> None:
    if fast.version() is None:
        pytest.skip("fastokens is not installed")
    few, many = (most_own_bytes(tokenizer.directory, "with", batches) for batches in (1, 20))
    assert many - few < 1 << 26
