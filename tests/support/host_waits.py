"""Counts where a training step would make the host wait for a GPU, on a machine without one.

Every tensor on a CPU is "on the host" or "on the device" here. On the device are the tensors that exist when the loop
begins (weights, buckets, optimizer state), what is created with a `device=`, what is copied there, and all that is
computed from them. A wait is what reads such a tensor's values on the host, what copies from memory that is not pinned,
and every `synchronize`.

Waits are attributed to the innermost frame that is neither torch's nor this file's: ours, or DeepSpeed's.

A file with the text PATCH can be named in CMBERT_TEST_PATCH: each rank then counts. FAKE_GPU only runs the branches for
a GPU.
"""

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import clinical_modernbert

PACKAGE = "clinical_modernbert"
_ROOT = Path(clinical_modernbert.__file__).parent
_ROOTS = {_ROOT, _ROOT.resolve()}
"""Of the package, whose directory may have another name."""
READS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "bincount", "unique_dim", "_unique2"}
"""Operators whose result, or its size, the host must know."""
TO_HOST = {"cpu", "numpy", "tolist", "item", "__bool__", "__float__", "__int__", "__index__", "__array__"}


class HostWaits(TorchFunctionMode):
    """Counts waits while it is entered. `phase` is part of the key of each."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """(phase, where, what) -> times"""
        self.phase = "step"
        self._device: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}
        self._below = _Operators(self)
        self._counting = False

    def __enter__(self) -> "HostWaits":
        for one in gc.get_objects():
            if issubclass(type(one), torch.Tensor):
                self.put_on_device(one)
        self._below.__enter__()
        super().__enter__()
        self._counting = True
        return self

    def __exit__(self, *details: Any) -> None:
        self._counting = False
        super().__exit__(*details)
        self._below.__exit__(*details)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Count inside the function of a mode, where the mode is off, if counting has begun."""
        if not self._counting:
            yield
            return
        super().__enter__()
        try:
            yield
        finally:
            super().__exit__(None, None, None)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        before, self.phase = self.phase, phase
        yield
        self.phase = before

    def wait(self, what: str) -> None:
        self.counts[self.phase, _caller(), what] += 1

    def pin(self, tensor: torch.Tensor) -> None:
        _remember(self._pinned, tensor)

    def put_on_device(self, *values: Any) -> None:
        for tensor in _tensors(values):
            _remember(self._device, tensor)

    def on_device(self, *values: Any) -> bool:
        return any(_known(self._device, tensor) for tensor in _tensors(values))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in TO_HOST and self.on_device(args[0]):
            self.wait(f"Tensor.{name}")
            with torch._C.DisableTorchFunction(), self._below.paused():
                return func(*args, **kwargs)
        if name == "to" and not self.on_device(args[0]) and _names_device(args[1:], kwargs):
            return self._to_device(args[0], kwargs.get("non_blocking", False))
        if name == "copy_":
            self._copied(args[0], args[1], kwargs.get("non_blocking", False) or args[2:] == (True,))
        result = func(*args, **kwargs)
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type != "meta":
            if name in ("tensor", "as_tensor"):
                self.wait(f"torch.{name} on the device")
            self.put_on_device(result)
        if name in ("new_tensor", "from_numpy") and self.on_device(args[0]):
            self.wait(f"Tensor.{name}")
            self.put_on_device(result)
        return result

    def _to_device(self, tensor: torch.Tensor, asynchronous: bool) -> torch.Tensor:
        if not (asynchronous and _known(self._pinned, tensor)):
            self.wait("copy to the device from memory that is not pinned")
        with self._below.paused():
            copied = tensor.clone()
        self.put_on_device(copied)
        return copied

    def _copied(self, target: Any, source: Any, asynchronous: bool) -> None:
        if isinstance(source, torch.Tensor) and self.on_device(target) != self.on_device(source):
            host = source if self.on_device(target) else target
            if not (asynchronous and _known(self._pinned, host)):
                self.wait("copy between host and device through memory that is not pinned")


class _Operators(TorchDispatchMode):
    """Below autograd: what reads values on the host, and which results are on the device."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self._waits, self._paused = waits, False

    @contextmanager
    def paused(self) -> Iterator[None]:
        before, self._paused = self._paused, True
        yield
        self._paused = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._paused and self._waits.on_device(args, kwargs):
            name = func._schema.name.partition("::")[2]
            indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else []
            masks = [one for one in _tensors(indices) if one.dtype in (torch.bool, torch.uint8)]
            repeats = name == "repeat_interleave" and kwargs and kwargs.get("output_size") is None
            if name in READS or masks or repeats:
                self._waits.wait(f"aten.{name}")
            result = func(*args, **(kwargs or {}))
            copied_to_host = name == "copy_" and not self._waits.on_device(args[0])
            if not copied_to_host:
                self._waits.put_on_device(result)
            return result
        return func(*args, **(kwargs or {}))


class FakeStream:
    """Streams and events of CUDA without a GPU: everything is done in order, and waits are counted."""

    waits: HostWaits

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def synchronize(self) -> None:
        self.waits.wait(f"{type(self).__name__}.synchronize")

    def record_event(self, *_: Any) -> "FakeStream":
        return FakeEvent()

    def query(self) -> bool:
        return True

    def wait_event(self, *_: Any) -> None: ...
    def wait_stream(self, *_: Any) -> None: ...
    def record(self, *_: Any) -> None: ...
    def wait(self, *_: Any) -> None: ...


class FakeEvent(FakeStream):
    def elapsed_time(self, _: Any) -> float:
        return 1.0


def install(waits: HostWaits) -> None:
    """Replace what needs CUDA, so that the branches for a GPU run on a CPU."""
    from clinical_modernbert.training import copies, delayed_rows, pace

    FakeStream.waits = waits
    for module in (copies, delayed_rows, pace):
        module.runs_ahead = lambda _: True  # type: ignore[attr-defined]
    for name in ("empty", "zeros"):
        setattr(torch, name, _pinning(getattr(torch, name), waits))
    autograd: Any = torch.autograd
    backward = autograd._engine_run_backward

    def backward_with_hooks(*args: Any, **kwargs: Any) -> Any:
        with waits.again():
            return backward(*args, **kwargs)

    autograd._engine_run_backward = backward_with_hooks
    cuda: Any = torch.cuda
    cuda.Stream, cuda.Event = FakeStream, FakeEvent
    cuda.current_stream = lambda *_: FakeStream()
    cuda.device = nullcontext
    cuda.synchronize = lambda *_: waits.wait("torch.cuda.synchronize")
    torch.Tensor.record_stream = lambda *_: None  # type: ignore[method-assign]


def _pinning(create: Callable[..., torch.Tensor], waits: HostWaits) -> Callable[..., torch.Tensor]:
    def created(*args: Any, pin_memory: bool = False, **kwargs: Any) -> torch.Tensor:
        tensor = create(*args, **kwargs)
        if pin_memory:
            waits.pin(tensor)
        return tensor

    return created


def _names_device(args: Any, kwargs: Any) -> bool:
    named = kwargs.get("device", args[0] if args else None)
    return isinstance(named, torch.device | str)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _remember(known: dict[int, StorageWeakRef], tensor: torch.Tensor) -> None:
    if tensor.layout == torch.strided and tensor.device.type == "cpu":
        storage = tensor.untyped_storage()
        known[storage._cdata] = StorageWeakRef(storage)  # it keeps the address from being used again


def _known(known: dict[int, StorageWeakRef], tensor: torch.Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.untyped_storage()._cdata in known


def _caller() -> str:
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        parts = path.parts
        if "deepspeed" in parts:
            inside = parts[len(parts) - 1 - parts[::-1].index("deepspeed") :]
            return f"{'/'.join(inside)}:{frame.f_lineno}"
        for root in _ROOTS:
            if path.is_relative_to(root) and (inside := path.relative_to(root).parts)[0] not in (".venv", "tests"):
                return f"{PACKAGE}/{'/'.join(inside)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


PATCH = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
import host_waits
host_waits.count_in_rank()
"""


FAKE_GPU = PATCH.replace("count_in_rank()", "install(host_waits.HostWaits())")


def count_in_rank() -> None:
    """Count in this rank, and print a line `waits: JSON` at the end.

    The phases are "start" (to the end of the first step), "micro-batch", "step", "validation" and "checkpoint".
    """
    from clinical_modernbert.training import trainer
    from clinical_modernbert.training.checkpoint import checkpointer

    waits = HostWaits()
    install(waits)
    measured = {"steps": 0, "micro_batches": 0}
    loop, accumulate, validate = trainer.train_from, trainer.accumulate, trainer.validate
    save = checkpointer.Checkpointer.save

    def counted_loop(*args: Any) -> int:
        waits.phase = "start"
        with waits:
            code = loop(*args)
        counts = [[*key, count] for key, count in sorted(waits.counts.items())]
        print("waits:", json.dumps({**measured, "counts": counts}), flush=True)
        return code

    def counted_accumulate(engine: Any, micro_batches: Any, *args: Any) -> torch.Tensor:
        waits.phase = "step" if measured["steps"] else "start"
        measured["steps"] += 1
        measured["micro_batches"] += len(micro_batches)
        with waits.during("micro-batch"):
            return accumulate(engine, micro_batches, *args)

    def counted_validate(*args: Any) -> float | None:
        with waits.during("validation"):
            return validate(*args)

    def counted_save(*args: Any) -> None:
        with waits.during("checkpoint"):
            save(*args)

    vars(trainer).update(train_from=counted_loop, accumulate=counted_accumulate, validate=counted_validate)
    checkpointer.Checkpointer.save = counted_save  # type: ignore[method-assign,assignment]
