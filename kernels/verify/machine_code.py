"""Static analysis of a compiled kernel: registers, spills, occupancy, tensor-core work, width of its loads."""

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
LIMITS = {  # per SM: 32-bit registers, bytes of shared memory, warps, blocks
    "sm80": (65536, 164 * 1024, 64, 32),
    "sm86": (65536, 100 * 1024, 48, 16),
    "sm89": (65536, 100 * 1024, 48, 24),
    "sm90": (65536, 228 * 1024, 64, 32),
    "sm100": (65536, 228 * 1024, 64, 32),
    "sm103": (65536, 228 * 1024, 64, 32),
    "sm120": (65536, 100 * 1024, 48, 24),
}
"""CUDA C++ programming guide, technical specifications per compute capability."""
AMD_REGISTERS = 512
"""Vector registers per lane of a SIMD; a compute unit has four."""
AMD_SHARED = {"gfx942": 64 * 1024, "gfx950": 160 * 1024}
"""Bytes of shared memory per compute unit."""


def shared_limit(architecture: str) -> int:
    """Bytes of shared memory that one block may use. CUDA reserves 1 KiB for each."""
    return AMD_SHARED[architecture] if architecture in AMD_SHARED else LIMITS[architecture][1] - 1024


@dataclass(frozen=True)
class MachineCode:
    """Properties of one compiled kernel.

    registers: per thread.
    spills: instructions that access local memory (AMD: registers that are spilled).
    shared: bytes of shared memory per block.
    blocks: that fit one SM (AMD: compute unit) at once.
    tensor: tensor-core instructions.
    mma_flops: of one block in one iteration of its hottest loop, which the compiler may have unrolled.
    wide: loads of 128 bits.
    narrow: loads of 8, 16 or 64 bits, which are vector loads that came out too narrow. Loads of 32 bits do not count:
        they read an entry of a table or a statistic.
    """

    registers: int
    spills: int
    shared: int
    blocks: int
    tensor: int
    mma_flops: int
    wide: int
    narrow: int


def read(kernel: Any, architecture: str) -> MachineCode:
    """Analyze a kernel that `ahead_of_time.compiled_for(architecture)` recorded."""
    return _read_amd(kernel, architecture) if architecture.startswith("gfx") else _read_nvidia(kernel, architecture)


def _read_nvidia(kernel: Any, architecture: str) -> MachineCode:
    usage, sass = _disassemble(kernel.asm["cubin"])
    opcodes = Counter(re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[T0-9]+\s+)?([A-Z][A-Z0-9_.]*)", sass))
    registers = int(re.findall(r"REG:(\d+)", usage)[0])
    warps, shared = kernel.metadata.num_warps, kernel.metadata.shared
    max_registers, max_shared, max_warps, max_blocks = LIMITS[architecture]
    warp_registers = -(-registers * 32 // 256) * 256
    by_resource = (max_registers // (warp_registers * warps), max_shared // (shared + 1024), max_warps // warps)
    loads = {op: n for op, n in opcodes.items() if re.match(r"(LDG|LDGSTS|UTMALDG)\b", op)}
    wide = sum(n for op, n in loads.items() if ".128" in op or op.startswith("UTMALDG"))
    return MachineCode(
        registers=registers,
        spills=sum(n for op, n in opcodes.items() if re.match(r"(LDL|STL)\b", op)),
        shared=shared,
        blocks=min(*by_resource, max_blocks),
        tensor=sum(n for op, n in opcodes.items() if re.match(r"(HMMA|HGMMA|UTCHMMA)\b", op)),
        mma_flops=_hottest_loop(kernel.asm["ptx"], lambda ptx: _ptx_flops(ptx, kernel.asm["ptx"], warps)),
        wide=wide,
        narrow=sum(n for op, n in loads.items() if re.search(r"\.(U8|S8|U16|S16|64)\b", op)),
    )


def _read_amd(kernel: Any, architecture: str) -> MachineCode:
    code = kernel.asm["amdgcn"]

    def note(name: str) -> int:
        return int(re.findall(rf"\.{name}:\s+(\d+)", code)[0])

    warps, shared = kernel.metadata.num_warps, kernel.metadata.shared
    registers = note("vgpr_count")  # includes accumulation registers: both share one register file
    waves = min(8, AMD_REGISTERS // (-(-registers // 8) * 8)) * 4
    loads = Counter(re.findall(r"^\s+((?:global|buffer)_load_\w+)", code, re.MULTILINE))
    wide = sum(n for op, n in loads.items() if op.endswith("dwordx4"))
    return MachineCode(
        registers=registers,
        spills=note("vgpr_spill_count") + note("sgpr_spill_count"),
        shared=shared,
        blocks=min(waves // warps, AMD_SHARED[architecture] // max(shared, 1)),
        tensor=len(re.findall(r"^\s+v_mfma_", code, re.MULTILINE)),
        mma_flops=_hottest_loop(code, lambda loop: _mfma_flops(loop, warps)),
        wide=wide,
        narrow=sum(n for op, n in loads.items() if not op.endswith(("dwordx4", "dword"))),
    )


def _disassemble(cubin: bytes) -> tuple[str, str]:
    """(resource usage, machine code with its labels)."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kernel.cubin"
        path.write_bytes(cubin)
        commands = [[str(TOOLS / "cuobjdump"), "-res-usage", str(path)], [str(TOOLS / "nvdisasm"), "-c", str(path)]]
        usage, sass = (subprocess.run(x, capture_output=True, text=True, check=True).stdout for x in commands)
    return usage, sass


def _hottest_loop(code: str, flops: Any) -> int:
    """FLOPs of the innermost loop with the most FLOPs. A branch to an earlier label is the end of a loop."""
    lines = code.splitlines()
    labels: dict[str, int] = {}
    ends: dict[int, int] = {}
    for number, line in enumerate(lines):
        if label := re.match(r"([$.]L\w+):", line):
            labels[label.group(1)] = number
        elif (branch := re.search(r"\b(?:bra|s_c?branch)\S*\s+([$.]L\w+)", line)) and branch.group(1) in labels:
            ends[labels[branch.group(1)]] = number  # a loop may branch back from several lines: the last counts
    loops = list(ends.items())
    innermost = [a for a in loops if not any(a[0] <= b[0] and b[1] <= a[1] and a != b for b in loops)]
    return max((flops("\n".join(lines[begin:end])) for begin, end in innermost), default=0)


def _ptx_flops(loop: str, ptx: str, warps: int) -> int:
    """mma.sync runs per warp, wgmma per group of four warps, tcgen05 per block, with its shape in a descriptor."""
    shapes = [(op, *map(int, mnk)) for op, *mnk in re.findall(r"(mma\.sync|wgmma)\S*\.m(\d+)n(\d+)k(\d+)", loop)]
    total = sum(2 * m * n * k * (warps if op == "mma.sync" else warps // 4) for op, m, n, k in shapes)
    for kind, register in re.findall(r"tcgen05\.mma\.cta_group::1\.kind::(\w+) .*, (%r\d+), %p\d+;", loop):
        descriptor = int(re.findall(rf"mov\.b32\s+{register}, (\d+);", ptx)[0])
        n, m = (descriptor >> 17 & 63) * 8, (descriptor >> 24 & 31) * 16
        total += 2 * m * n * {"f16": 16, "tf32": 8}[kind]
    return total


def _mfma_flops(loop: str, warps: int) -> int:
    return sum(2 * int(m) * int(n) * int(k) * warps for m, n, k in re.findall(r"v_mfma_\w+?_(\d+)x(\d+)x(\d+)", loop))
