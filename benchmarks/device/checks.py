"""Every kernel against its reference, by the accuracy rule of the tests."""

from clinical_modernbert.kernels.attention.dispatch import explain_backends
from clinical_modernbert.kernels.verify.self_test import HEAD_DIM, self_test

from .bench import Bench


def run(bench: Bench) -> None:
    for line in explain_backends(bench.device, bench.dtype, HEAD_DIM):
        bench.note("backend", line)
    for check in self_test(bench.device):
        largest = max((result.error / (result.limit or 1.0) for result in check.results), default=0.0)
        rms = max((result.rms / result.rms_limit for result in check.results), default=0.0)
        verdict = "ok" if check.passed else check.error.splitlines()[0][:160] if check.error else "WRONG"
        if not check.passed:
            bench.failures.append(f"{check.kernel} in {check.dtype}: {verdict}")
        errors = {"largest error / limit": largest, "RMS / limit": rms}
        bench.row("checks", kernel=check.kernel, type=check.dtype, **errors, verdict=verdict)
