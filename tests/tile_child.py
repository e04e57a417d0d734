"""What a process of its own does with the kernel: `run` it by Triton's interpreter, or `compile` it for GPUs that are not here."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from plain_tops import plain_tops

from pipeline.encode import tile_kernel
from pipeline.encode.tiles import NONE, TILE, disagreement, tiles_of


def run() -> None:
    """Whole and broken tiles, more queries than a block holds, a dimension that leaves a rest, one that is less."""
    draw = torch.Generator().manual_seed(0)
    for config in tile_kernel.CONFIGS:
        tile_kernel.tops_kernel.configs = [config]
        for n, m, dimension in ((5, 300, 64), (130, 129, 80), (3, 256, 16), (1, 1, 32)):
            queries, rows = (
                torch.nn.functional.normalize(torch.randn(count, dimension, generator=draw), dim=1).half()
                for count in (n, m)
            )
            rows[0] = 0
            top, second = tile_kernel.tops(queries, rows)
            assert top.shape == second.shape == (n, tiles_of(m))
            exact = queries.double() @ rows.double().T
            assert (wrong := disagreement((top, second), exact.float())) is None, wrong
            for told, want in zip((top, second), plain_tops(queries, rows), strict=True):
                assert ((told == NONE) == (want == NONE)).all()
    sys.stdout.write("equal\n")


def compile() -> None:
    """For sm_90 and sm_80, at BERT-base's dimension: on tensor cores, and with nothing spilled."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = tile_kernel.tops_kernel.fn
    cuobjdump = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    for capability, instruction in ((90, "wgmma"), (80, "mma.sync")):
        for config in tile_kernel.CONFIGS:
            fixed = {"dimension": 768, "TILE": TILE, "NOTHING": NONE, **config.kwargs}
            kinds = ["*fp16", "*fp16", "*i32", "*i32", "i32", "i32", "i32"]
            kinds += ["constexpr"] * (len(kernel.arg_names) - len(kinds))
            source = ASTSource(
                kernel,
                dict(zip(kernel.arg_names, kinds, strict=True)),
                {(kernel.arg_names.index(name),): value for name, value in fixed.items()},
                {(i,): [["tt.divisibility", 16]] for i in range(4)},
            )
            options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
            made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
            assert f"{instruction}." in made.asm["ptx"]
            with tempfile.TemporaryDirectory() as folder:
                cubin = Path(folder, "tops.cubin")
                cubin.write_bytes(made.asm["cubin"])
                told = subprocess.run(
                    [cuobjdump, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True
                ).stdout
            used = dict(re.findall(r"\b(REG|STACK|LOCAL):(\d+)", told))
            assert used["STACK"] == used["LOCAL"] == "0", told
            shape = f"{config.kwargs['ASKED']} queries, {config.num_warps} warps, {config.num_stages} stages"
            use = f"{used['REG']} registers, {made.metadata.shared} bytes shared"
            sys.stdout.write(f"sm_{capability}, {shape}: {use}\n")


if __name__ == "__main__":
    {"run": run, "compile": compile}[sys.argv[1]]()
