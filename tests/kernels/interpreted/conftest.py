"""Triton decides at import whether it interprets, so these tests run in a process with TRITON_INTERPRET=1, which
tests/kernels/test_interpreted.py starts. In any other process they are not collected."""

import os

collect_ignore_glob = []

if os.environ.get("TRITON_INTERPRET") == "1":
    import bf16_interpreter
    import torch
    from hypothesis import settings

    bf16_interpreter.install()
    torch.set_num_threads(1)
    settings.register_profile("interpreted", deadline=None, max_examples=10, derandomize=True)
    settings.load_profile("interpreted")
else:
    collect_ignore_glob.append("*test_*.py")
