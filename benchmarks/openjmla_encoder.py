"""OpenJMLA's encoder over clips of 30 s on a CPU: time and peak memory against the same network written naively.

Naively: three equal channels, attention as softmax(q k / 8) v with all its weights in memory, dropout of 0 and gradients recorded,
as a first version would. Both with the same weights, in turn; their outputs are compared first.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from musicreclass.models.openjmla import OpenJMLAEncoder

CLIPS, ROUNDS, SECONDS = 2, 5, 30


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


def main() -> None:
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
    measure_peak(sys.argv[1]) if len(sys.argv) > 1 else main()
