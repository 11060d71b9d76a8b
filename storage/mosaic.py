"""The part of MosaicML Streaming that we use: the MDS shard format and the object-store downloaders.

`import streaming` also imports its image, text and multimodal datasets, and with them torchvision, which has no
build for every torch that we run on. Empty modules replace those three subpackages while the package is imported;
torchvision itself is not replaced, and the subpackages can still be imported afterwards. The package imports torch too,
which takes seconds: callers therefore import this module where they read or write the first shard.
"""

import importlib
import sys
from types import ModuleType

_SKIPPED = ("multimodal", "text", "vision")

if "streaming" not in sys.modules:
    _names = [f"streaming.{name}" for name in _SKIPPED]
    sys.modules.update({name: ModuleType(name) for name in _names})
    try:
        _streaming = importlib.import_module("streaming")
    finally:
        for _name in _names:
            del sys.modules[_name]
    for _name in _SKIPPED:
        delattr(_streaming, _name)

from streaming.base.format import FileInfo, MDSWriter  # noqa: E402
from streaming.base.format.mds import MDSReader  # noqa: E402
from streaming.base.storage.download import CloudDownloader  # noqa: E402

__all__ = ["CloudDownloader", "FileInfo", "MDSReader", "MDSWriter"]
