"""What an entry point settles before libraries are imported."""

import sys


def hide_torchvision() -> None:
    """Let `import torchvision` fail in this process as if it were not installed.

    mosaicml-streaming requires torchvision, and transformers imports it if it is installed. Nothing here uses it, and a
    build for another torch fails at import ("operator torchvision::nms does not exist"), which would make transformers'
    ModernBERT unavailable.
    """
    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]
