"""The part of MosaicML Streaming that is imported, and the rest of it."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_only_the_format_is_imported_and_the_rest_can_be_afterwards() -> None:
    script = """
import sys
from clinical_modernbert.storage import mosaic
heavy = {"transformers", "torchvision", "boto3", "streaming.vision", "streaming.base.dataset"} & set(sys.modules)
assert not heavy, heavy
import streaming.base
assert streaming.base.format.MDSWriter is mosaic.MDSWriter
assert "streaming.base.dataset" not in sys.modules
assert issubclass(streaming.base.StreamingDataset, streaming.base.dataset.StreamingDataset)
from streaming.base import MDSWriter
assert MDSWriter is mosaic.MDSWriter
try:
    streaming.base.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error), error
else:
    raise AssertionError("a name that streaming.base does not have")
from importlib.util import find_spec
assert find_spec("streaming.vision").origin.endswith("__init__.py")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
