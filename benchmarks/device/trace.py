"""Where the time of two training steps goes: the largest kernels, the gaps between them, and the synchronizations."""

from torch.profiler import ProfilerActivity, profile

from .bench import Bench
from .shapes import mixes
from .step import PACKS, model_config, plain, random_batch

STEPS, KERNELS = 2, 20


def run(bench: Bench) -> None:
    config, tokens = model_config(bench, "base"), bench.size(8192, 256) * bench.size(PACKS["base"], 1)
    documents, lengths = next((name, each) for name, each in mixes(bench, tokens).items() if "mixed" in name)
    step = plain(bench, config, random_batch(bench, config, lengths))
    step()
    activities = [ProfilerActivity.CPU] if bench.simulate else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as profiler:
        for _ in range(STEPS):
            step()
        step().item()
    times = "self_cpu_time_total" if bench.simulate else "self_device_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, times))
    total = sum(getattr(event, times) for event in events) or 1.0
    for event in events[:KERNELS]:
        spent = getattr(event, times)
        calls = {"calls": event.count, "ms": spent / 1e3, "share": f"{spent / total:.1%}"}
        bench.row(f"trace of a base model, {documents}", kernel=event.key[:80], **calls)
    waits = {event.key: event.count for event in events if "Synchronize" in event.key or "Memcpy" in event.key}
    bench.row("synchronizations", **{name.replace(" ", ""): count for name, count in waits.items()} or {"none": 0})
    bench.row("gaps", **{"share of the time without a kernel": f"{_idle(profiler, bench):.1%}"})


def _idle(profiler: profile, bench: Bench) -> float:
    """The share of the time from the first kernel's begin to the last one's end in which no kernel ran."""
    kind = "CPU" if bench.simulate else "CUDA"
    spans = [event.time_range for event in profiler.events() or [] if event.device_type.name == kind]
    spans.sort(key=lambda span: span.start)
    busy, end = 0.0, spans[0].start
    for span in spans:
        busy += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    return 1 - busy / max(end - spans[0].start, 1e-9)
