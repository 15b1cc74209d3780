"""OpenJMLA's encoder over clips of 30 s: on a CPU, time and peak memory against the same network written naively; on a CUDA GPU, the
share of its arithmetic limit.

Naively: three equal channels, attention as softmax(q k / 8) v with all its weights in memory, dropout of 0 and gradients recorded,
as a first version would. Both with the same weights, in turn; their outputs are compared first.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from musicreclass.models.openjmla import OpenJMLAEncoder

CLIPS, ROUNDS, SECONDS = 2, 5, 30
GFLOP_PER_CLIP = 193  # torch's FlopCounterMode counts 159 without attention, which adds 32
GPU_LIMITS = {"H100 80GB HBM3": 989, "H200": 989, "A100": 312}  # bf16 TFLOP/s without sparsity, NVIDIA's data sheets


class Naive(nn.Module):
    """The encoder without any care."""

    def __init__(self, encoder: OpenJMLAEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoder = self.encoder
        mel = encoder.first_window(x).unsqueeze(1).repeat(1, 3, 1, 1)
        projection = encoder.patch_embed.projection
        tokens = F.conv2d(mel, projection.weight, projection.bias, stride=16).flatten(2).transpose(1, 2)
        tokens = torch.cat([encoder.cls_token.expand(len(x), -1, -1), tokens], 1) + encoder.pos_embed
        for block in encoder.layers:
            q, k, v = block.attn.qkv(block.ln1(tokens)).unflatten(2, (3, 12, 64)).permute(2, 0, 3, 1, 4)
            weights = F.dropout(torch.softmax(q @ k.transpose(2, 3) / 8, 3), 0.0)
            tokens = tokens + block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
            tokens = tokens + block.ffn(block.ln2(tokens))
        return encoder.ln1(tokens)


def ours(encoder: OpenJMLAEncoder, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return encoder.tokens(encoder.first_window(x))


def peak(implementation: str) -> float:
    """MiB above the memory of the encoder itself, in a separate process."""
    done = subprocess.run([sys.executable, __file__, implementation], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure_peak(implementation: str) -> None:
    encoder = OpenJMLAEncoder.from_checkpoint("random")
    x = torch.randn(CLIPS, SECONDS * 16000) * 0.1
    before = high_water()
    ours(encoder, x) if implementation == "ours" else Naive(encoder)(x)
    print(high_water() - before)


def high_water() -> float:
    """Peak memory of this process in MiB; getrusage would count what the parent had."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def on_a_gpu() -> None:
    """Print clips per second of the encoder from waveforms on the GPU, as `features=openjmla` runs it, by precision and batch."""
    if not torch.cuda.is_available():
        print("  on a GPU: not run: no GPU available")
        return
    name = torch.cuda.get_device_name(0)
    limit = next((value for part, value in GPU_LIMITS.items() if part in name), None)
    encoder = OpenJMLAEncoder.from_checkpoint("random").cuda()
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    print(
        f"{name}: a product of 8192 x 8192 bf16 matrices {2 * 8192**3 / gpu_seconds(torch.mm, matrix, matrix) / 1e12:.0f} TFLOP/s"
    )
    for description, dtype, tokens in (
        ("32-true", None, encoder.tokens),
        ("bf16-mixed", torch.bfloat16, encoder.tokens),
        ("bf16-mixed, compiled", torch.bfloat16, torch.compile(encoder.tokens)),
    ):
        for clips in (1, 8, 64):
            x = torch.randn(clips, SECONDS * 16000, device="cuda") * 0.1
            with torch.inference_mode(), torch.autocast("cuda", dtype, enabled=dtype is not None):
                mel = encoder.first_window(x)
                front, network = gpu_seconds(encoder.first_window, x), gpu_seconds(tokens, mel)
            rate = GFLOP_PER_CLIP * clips / (front + network) / 1e3
            of_limit = f", {100 * rate / limit:.0f} % of {limit}" if limit and dtype else ""
            print(f"  {description:<22} {clips:3} at once  {clips / (front + network):7.0f} clips/s  {rate:4.0f} TFLOP/s{of_limit}"
                  f"  (log-mel {100 * front / (front + network):.0f} %)")  # fmt: skip


def gpu_seconds(call: Callable[..., object], *arguments: object, repeats: int = 10) -> float:
    """Median seconds of a call on the GPU, after three that are not counted."""
    seconds = []
    for i in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call(*arguments)
        end.record()
        torch.cuda.synchronize()
        if i >= 3:
            seconds.append(start.elapsed_time(end) / 1e3)
    return statistics.median(seconds)


def main() -> None:
    on_a_gpu()
    encoder = OpenJMLAEncoder.from_checkpoint("random")
    naive = Naive(encoder)
    x = torch.randn(CLIPS, SECONDS * 16000) * 0.1
    difference = float((ours(encoder, x) - naive(x).detach()).abs().max())
    times: dict[str, list[float]] = {"ours": [], "naive": []}
    for _ in range(ROUNDS):
        for name, encode in (("ours", lambda: ours(encoder, x)), ("naive", lambda: naive(x))):
            start = time.perf_counter()
            encode()
            times[name].append((time.perf_counter() - start) / CLIPS)
    print(f"OpenJMLA's encoder, clips of {SECONDS} s, {torch.get_num_threads()} threads, batches of {CLIPS}, medians of {ROUNDS} rounds"
          f" (outputs differ by {difference:.0e})")  # fmt: skip
    base = statistics.median(times["naive"])
    for name, values in times.items():
        typical = statistics.median(values)
        print(
            f"  {name:<8}{typical:7.2f} s/clip   {base / typical:5.2f} x as fast   peak memory +{peak(name):5.0f} MiB"
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["gpu"]:
        on_a_gpu()
    elif sys.argv[1:]:
        measure_peak(sys.argv[1])
    else:
        main()
