"""What the sections of benchmarks/gpu.py share: the device, a clock, and a file to which rows are written at once."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import triton

from clinical_modernbert.kernels.verify.accuracy import Function

WARM_UP, REPEAT = 3, 15


@dataclass
class Bench:
    """An open benchmark.

    Attributes:
        path: of the result, without its suffix.
        simulate: on CPU tensors, with small shapes.
        deadline: `time.monotonic()` after which a section begins no further row.
        failures: what failed.
    """

    device: torch.device
    path: Path
    simulate: bool
    deadline: float = float("inf")
    failures: list[str] = field(default_factory=list)
    _table: tuple[str, ...] = ()

    @classmethod
    def open(cls, out: Path, simulate: bool) -> "Bench":
        device = torch.device("cpu") if simulate else torch.device("cuda", torch.cuda.current_device())
        name = "simulated" if simulate else torch.cuda.get_device_name(device)
        out.mkdir(parents=True, exist_ok=True)
        bench = cls(device, out / name.replace(" ", "-").replace("/", "-"), simulate)
        for suffix in (".md", ".jsonl"):
            bench._file(suffix).write_text("")
        bench._write(f"# {name}")
        bench._write(f"\ntorch {torch.__version__}, triton {triton.__version__}, {time.strftime('%Y-%m-%d')}")
        return bench

    def size(self, real: int, small: int) -> int:
        """A size for the device, or the small one for a simulation."""
        return small if self.simulate else real

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.simulate else torch.bfloat16

    def out_of_time(self) -> bool:
        return time.monotonic() > self.deadline

    def row(self, section: str, **values: str | int | float) -> None:
        """Write one row of a section. The keys are the columns; other keys than before begin another table."""
        with self._file(".jsonl").open("a") as file:
            file.write(json.dumps({"section": section, **values}) + "\n")
        if self._table != (columns := (section, *values)):
            self._table = columns
            self._write(f"\n## {section}\n\n| {' | '.join(values)} |\n|{'---|' * len(values)}")
        self._write(f"| {' | '.join(map(_cell, values.values()))} |")

    def note(self, section: str, text: str) -> None:
        self._table = ()
        with self._file(".jsonl").open("a") as file:
            file.write(json.dumps({"section": section, "note": text}) + "\n")
        self._write(f"\n## {section}\n\n{text}")

    def fail(self, section: str, text: str) -> None:
        self.failures.append(f"{section}: {text}")
        self.note(section, f"FAILED: {text}")

    def milliseconds(self, step: Callable[[], object], repeat: int = REPEAT) -> float:
        """The median time of `step` on the device, after runs that are not counted."""
        measured: list[float] = []
        for _ in range(1 if self.simulate else repeat + WARM_UP):
            with self._timed(measured):
                step()
        return statistics.median(measured[0 if self.simulate else WARM_UP :])

    def times(self, function: Function, inputs: Sequence[torch.Tensor]) -> dict[str, float]:
        """Milliseconds of forward, and of forward and backward of all differentiable outputs."""

        def outputs() -> list[torch.Tensor]:
            result = function(*inputs)
            results = result if isinstance(result, tuple) else (result,)
            return [x for x in results if x.requires_grad]

        def forward() -> None:
            with torch.no_grad():
                function(*inputs)

        cotangents = [torch.randn_like(x) for x in outputs()]
        both = self.milliseconds(lambda: torch.autograd.grad(outputs(), list(inputs), cotangents))
        return {"forward ms": self.milliseconds(forward), "forward + backward ms": both}

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype, requires_grad=True)

    @contextmanager
    def _timed(self, measured: list[float]) -> Iterator[None]:
        if self.simulate:
            started = time.perf_counter()
            yield
            measured.append(1e3 * (time.perf_counter() - started))
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        yield
        end.record()
        end.synchronize()
        measured.append(begin.elapsed_time(end))

    def _file(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _write(self, text: str) -> None:
        print(text, flush=True)
        with self._file(".md").open("a") as file:
            file.write(text + "\n")


@contextmanager
def errors_as_rows(bench: Bench, section: str, **values: str) -> Iterator[None]:
    """Write an error as a row of the section, and go on: a dense matrix of scores may not fit, a library may fail."""
    try:
        yield
    except Exception as error:
        bench.row(section, **values, error=f"{type(error).__name__}: {str(error).splitlines()[0][:160]}")
        if not isinstance(error, torch.OutOfMemoryError):
            bench.failures.append(f"{section}: {values}")
        if not bench.simulate:
            torch.cuda.empty_cache()


def _cell(value: str | float) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else str(value).replace("|", "/")
