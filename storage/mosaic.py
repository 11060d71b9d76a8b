"""The part of MosaicML Streaming that we use: the MDS shard format and the object-store downloaders.

`import streaming` also imports its datasets, and with them transformers, which takes a second in every rank, and
torchvision, which has no build for every torch that we run on. So the modules of the packages `streaming` and
`streaming.base` themselves do not run here, only the submodules that we import. They run when something of theirs is
used, so `from streaming import StreamingDataset` works afterwards as it does without this module. The format imports
torch, which takes seconds: callers therefore import this module where they read or write the first shard.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """A package whose module runs at the first use of an attribute that no submodule has put there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _postpone(name: str) -> None:
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = importlib.util.module_from_spec(spec)
        module.__class__ = _Later
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


_postpone("streaming")
_postpone("streaming.base")

from streaming.base.format import FileInfo, MDSWriter  # noqa: E402
from streaming.base.format.mds import MDSReader  # noqa: E402
from streaming.base.storage.download import CloudDownloader  # noqa: E402

__all__ = ["CloudDownloader", "FileInfo", "MDSReader", "MDSWriter"]
