"""torch and DeepSpeed without torch's compiler, which a training rank does not use (decision 0008).

Functions that the compiler must not trace import it when they are first called or decorated: `Optimizer.zero_grad`,
DeepSpeed's hooks of ZeRO-3. DeepSpeed also compiles functions of its Muon, to see whether the optimizer is one. The
compiler is 1,500 files and takes longer to import than torch itself. torch's activation checkpointing reads the
compiler's settings, so a run that uses it imports the compiler at its first step.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

_MARK = "__dynamo_disable"
"""Where torch keeps what the compiler made of a method that it must not trace: here, the method itself."""
_COMPILED_AT_IMPORT = "deepspeed.runtime.zero.muon.muon_optimizer"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Inside, DeepSpeed's modules and hooks are made without the compiler, and torch's optimizers do without it after.

    It does nothing in a process that has imported the compiler already. If torch does any of this in another way, ranks
    start more slowly, and `tests/training/test_start_up.py` fails.
    """
    if "torch._dynamo" in sys.modules:
        yield
        return
    _leave_untraced(torch.optim.Optimizer)
    with patch.object(torch, "_disable_dynamo", _unchanged), patch.object(torch.compiler, "disable", _unchanged):
        with patch.object(torch, "compile", _unchanged):
            importlib.import_module(_COMPILED_AT_IMPORT)
        yield


def _leave_untraced(kind: type) -> None:
    """Mark the methods that torch wraps to keep the compiler out, so that a call does not import it."""
    wrapper = torch._disable_dynamo(lambda: None).__code__
    for method in vars(kind).values():
        if getattr(method, "__code__", None) is wrapper:
            setattr(method.__wrapped__, _MARK, method.__wrapped__)


def _unchanged(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return _decorator if function is None else function


def _decorator(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
