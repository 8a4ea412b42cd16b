"""What each attention kernel asks of a GPU, found by compiling for it; no GPU is needed.

Run: `python benchmarks/kernel_resources.py --capability 80 --capability 90`

Every kernel is compiled as the server would launch it, for a table of model shapes, with
Triton's own compiler and assembler: registers, bytes spilled to local memory, shared memory.
Exit code 1 when a kernel needs more shared memory than the smallest device that has bfloat16
gives a block, spills, or leaves the matrix units idle; 0 otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from stemfirst_server.engine.config import KVDtype
from stemfirst_server.kernels import decode, extend, store
from stemfirst_server.kernels.step import scales_of
from stemfirst_server.memory.pool import LayerShape
from stemfirst_server.memory.quantized import make_pool
from stemfirst_server.model.attention import ChunkRow, SingleRows
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SHARED_LIMIT_BYTES = 99 * 1024  # a block's, compute capability 8.6 and 8.9
LOCAL_LIMIT_BYTES = 128  # a thread's: a few registers put aside outside the loop cost nothing
MATRIX_KERNELS = ("_extend", "_decode")
_TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int8: "*i8",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """An attention layer, the new tokens of its longest chunk, and the runs of its decode.

    Attributes:
        kv: what keys and values are stored in.
    """

    label: str
    heads: int
    kv_heads: int
    width: int
    value_width: int
    dtype: torch.dtype = torch.bfloat16
    window: int | None = None
    softcap: float | None = None
    has_sinks: bool = False
    new_tokens: int = 256
    splits: int = 8
    kv: KVDtype = KVDtype.AUTO


SHAPES = (
    Shape("llama-8b", 32, 8, 128, 128),
    Shape("llama-8b, KV in int8", 32, 8, 128, 128, kv=KVDtype.INT8),
    Shape("llama-8b, KV in fp8", 32, 8, 128, 128, kv=KVDtype.FP8),
    Shape("llama-8b float16", 32, 8, 128, 128, torch.float16, splits=1),
    Shape("llama-8b float32", 32, 8, 128, 128, torch.float32),
    Shape("width 64 float32", 16, 8, 64, 64, torch.float32),
    Shape("width 80", 32, 32, 80, 80),
    Shape("7 heads a KV head", 28, 4, 128, 128),
    Shape("softcap and window, width 256", 16, 8, 256, 256, window=4096, softcap=50.0),
    Shape("sinks and window, width 64", 64, 8, 64, 64, window=128, has_sinks=True, splits=1),
    Shape("K 192, V 128", 16, 16, 192, 128),
    Shape("width 512", 8, 2, 512, 512),
    Shape("width 256 float32", 8, 4, 256, 256, torch.float32),
    Shape("one KV head for 71", 71, 1, 64, 64),
    Shape("llama-8b, few new tokens", 32, 8, 128, 128, new_tokens=5),
    Shape("width 128 float32, few new tokens", 8, 8, 128, 128, torch.float32, new_tokens=3),
)


@dataclass(frozen=True, slots=True)
class Resources:
    """What one compiled kernel takes.

    Attributes:
        shape: its label.
        kernel: its name.
        capability: compute capability, 90 for 9.0.
        registers: a thread.
        local_bytes: a thread's stack and spills.
        shared_bytes: a block.
        is_on_tensor_cores: whether the machine code holds matrix instructions.
    """

    shape: str
    kernel: str
    capability: int
    registers: int
    local_bytes: int
    shared_bytes: int
    is_on_tensor_cores: bool


class _Launch:
    """Stands where a kernel stands, and keeps what it was launched with."""

    def __init__(
        self, kernel: Any, kept: list[tuple[Any, tuple[Any, ...], dict[str, Any]]]
    ) -> None:
        self._kernel, self._kept = kernel, kept

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **options: self._kept.append((self._kernel, args, options))


def launches(shape: Shape) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """Return every kernel with the arguments and options that the server would give it."""
    kept: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    originals = [
        (module, name, getattr(module, name))
        for module, name in (
            (store, "_store"),
            (extend, "_extend"),
            (decode, "_decode"),
            (decode, "_merge"),
        )
    ]
    tokens, page, pages = shape.new_tokens, 16, 32
    query = torch.empty(tokens, shape.heads, shape.width, dtype=shape.dtype).transpose(0, 1)
    pool = make_pool(
        {0: LayerShape(shape.kv_heads, shape.width, shape.value_width)},
        shape.kv,
        pages=pages,
        page=page,
        dtype=shape.dtype,
        device=torch.device("cpu"),
    )
    keys, values = pool.keys[0], pool.values[0]
    out = torch.empty(tokens, shape.heads, shape.value_width, dtype=shape.dtype)
    asked: dict[str, Any] = {
        "scale": 0.1,
        "window": shape.window,
        "softcap": shape.softcap,
        "sinks": torch.empty(shape.heads, dtype=shape.dtype) if shape.has_sinks else None,
        "scales": scales_of(pool, 0),
    }
    page_ids = torch.arange(pages)
    try:
        for module, name, kernel in originals:
            setattr(module, name, _Launch(kernel, kept))
        slots = torch.arange(tokens)
        key = torch.empty(tokens, shape.kv_heads, shape.width, dtype=shape.dtype).transpose(0, 1)
        value = torch.empty(tokens, shape.kv_heads, shape.value_width, dtype=shape.dtype)
        if shape.kv is KVDtype.AUTO:  # torch's own operations store eight bits
            store.store(key, value.transpose(0, 1), slots, keys, values)
        plan = extend.plan_extend(
            (ChunkRow(tokens, 500, page_ids),),
            group=shape.heads // shape.kv_heads,
            width=shape.width,
            value_width=shape.value_width,
            dtype=shape.dtype,
        )
        extend.extend(plan, query, keys, values, out, **asked)
        rows = SingleRows(torch.full((tokens,), 500), page_ids.expand(tokens, pages))
        decode.decode(rows, query, keys, values, out, **asked, splits=shape.splits)
    finally:
        for module, name, kernel in originals:
            setattr(module, name, kernel)
    return kept


def compiled(
    kernel: Any, args: tuple[Any, ...], options: dict[str, Any], capability: int
) -> tuple[Any, bytes]:
    """Return the kernel's metadata and machine code for a compute capability."""
    names = [param.name for param in kernel.params]
    values = dict(zip(names, args, strict=False)) | {
        name: value for name, value in options.items() if name in names
    }
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    for index, name in enumerate(names):
        value = values[name]
        param = kernel.params[index]
        # Triton itself compiles the integer 1 in, and that others are multiples of 16.
        is_special = isinstance(value, int) and not param.do_not_specialize
        if param.is_constexpr or value is None or (is_special and value == 1):
            signature[name], constants[index,] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[name] = _TYPES[value.dtype]
            attributes[index,] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32"
            if is_special and value % 16 == 0:
                attributes[index,] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    known = {name: options[name] for name in ("num_warps", "num_stages") if name in options}
    built = triton.compile(
        source,
        target=GPUTarget("cuda", capability, 32),
        options={**known, "enable_fp_fusion": True},
    )
    return built.metadata, built.asm["cubin"]


def resources(shape: Shape, capability: int) -> list[Resources]:
    """Return what each kernel takes for a shape."""
    found = []
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    for kernel, args, options in launches(shape):
        metadata, code = compiled(kernel, args, options, capability)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(code)
            file.flush()
            usage = _output([str(tools / "cuobjdump"), "--dump-resource-usage", file.name])
            is_matrix = metadata.name in MATRIX_KERNELS
            dump = [str(tools / "cuobjdump"), "--dump-sass", file.name]
            listing = _output(dump) if is_matrix else ""
        numbers = {
            name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)
        }
        found.append(
            Resources(
                shape=shape.label,
                kernel=metadata.name,
                capability=capability,
                registers=numbers["REG"],
                local_bytes=numbers["STACK"] + numbers["LOCAL"],
                shared_bytes=metadata.shared,
                is_on_tensor_cores=re.search(r"\b(HMMA|HGMMA|UTCHMMA)\b", listing) is not None,
            )
        )
    return found


def faults(shape: Shape, found: list[Resources]) -> list[str]:
    """Return what is wrong, in sentences."""
    wrong = []
    for kernel in found:
        name = f"{kernel.kernel} for {shape.label} on {kernel.capability}"
        if kernel.shared_bytes > SHARED_LIMIT_BYTES:
            wrong.append(f"{name} needs {kernel.shared_bytes} bytes of shared memory")
        if kernel.local_bytes > LOCAL_LIMIT_BYTES:
            wrong.append(f"{name} spills {kernel.local_bytes} bytes a thread")
        is_matrix = kernel.kernel in MATRIX_KERNELS and shape.dtype != torch.float32
        if is_matrix and not kernel.is_on_tensor_cores:
            wrong.append(f"{name} does not use the matrix units")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--capability", type=int, action="append", help="90 for 9.0; repeatable")
    parser.add_argument("--shape", action="append", help="a label of the table; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args()
    labels = [shape.label for shape in SHAPES]
    for label in asked.shape or ():
        if label not in labels:
            parser.error(f"no shape is called {label!r}; there are {', '.join(labels)}")
    wrong: list[str] = []
    for shape in SHAPES:
        if asked.shape and shape.label not in asked.shape:
            continue
        for capability in asked.capability or [80, 90]:
            found = resources(shape, capability)
            wrong += faults(shape, found)
            for kernel in found:
                if asked.json:
                    print(json.dumps(asdict(kernel)), flush=True)
                else:
                    print(
                        f"{kernel.shape:32} {kernel.kernel:8} {capability:4} "
                        f"{kernel.registers:4} registers {kernel.local_bytes:5} local "
                        f"{kernel.shared_bytes:7} shared"
                        f"{'  matrix units' if kernel.is_on_tensor_cores else ''}",
                        flush=True,
                    )
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return 1 if wrong else 0


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
