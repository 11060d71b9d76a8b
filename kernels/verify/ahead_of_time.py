"""Compile the Triton kernels for GPUs that this machine does not have.

Within `compiled_for("sm90")` the public functions, called on CPU tensors, launch nothing. Triton's own launcher selects
the types, alignments and options as on that GPU and compiles, and the compiled kernel is recorded. The recorded code is
therefore the code that the GPU would run. Needs no GPU (the assembler and disassembler come with Triton), but a process
without TRITON_INTERPRET.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from ..devices import ARCHITECTURES

TARGETS = {
    name: GPUTarget("cuda", int(name[2:]), 32) if name.startswith("sm") else GPUTarget("hip", name, 64)
    for name in ARCHITECTURES
}


class _AbsentDevice(DriverBase):
    """The part of a Triton driver that compiling uses."""

    def __init__(self, architecture: str) -> None:
        self.architecture = architecture

    @classmethod
    def is_active(cls) -> bool:
        return False

    def get_current_target(self) -> GPUTarget:
        return TARGETS[self.architecture]

    def get_current_device(self) -> str:
        return self.architecture  # the key of Triton's cache of compiled kernels

    def get_current_stream(self, _: str) -> int:
        return 0

    def map_python_to_cpp_type(self, ty: str) -> str:
        return ty

    def get_active_torch_device(self) -> None:
        return None

    def get_benchmarker(self) -> Any:
        raise ValueError(f"no {self.architecture} device to time on: kernels are only compiled")


@contextmanager
def compiled_for(architecture: str) -> Iterator[list[Any]]:
    """Yield a list to which each launch appends its compiled kernel. `architecture` is a key of TARGETS."""
    kernels: list[Any] = []
    run = JITFunction.run

    def record(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        kernels.append(run(self, *args, grid=grid, warmup=True, **kwargs))

    previous = driver._active
    driver.set_active(_AbsentDevice(architecture))
    try:
        with patch.object(JITFunction, "run", record):
            yield kernels
    finally:
        driver._active = previous
