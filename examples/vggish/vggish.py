"""VGGish (Hershey et al., "CNN Architectures for Large-Scale Audio Classification", 2017) as an encoder, with torchvggish's weights."""

import torch
from torch import nn

from musicreclass.models.encoder import Encoder


class VGGish(Encoder):
    """128 values for each 0.96 s; `checkpoint` is torchvggish's state dict, vggish-10086976.pth. PCA is not applied."""

    def __init__(self, checkpoint):
        super().__init__()
        self.sample_rate, self.columns, self.settings = 16000, [f"vggish_{i}" for i in range(128)], {"version": 1}
        stages = [[(1, 64)], [(64, 128)], [(128, 256), (256, 256)], [(256, 512), (512, 512)]]
        block = [[[nn.Conv2d(*io, 3, padding=1), nn.ReLU()] for io in s] + [[nn.MaxPool2d(2)]] for s in stages]
        self.features = nn.Sequential(*(layer for stage in block for group in stage for layer in group))
        dense = [[nn.Linear(*io), nn.ReLU()] for io in [(512 * 6 * 4, 4096), (4096, 4096), (4096, 128)]]
        self.embeddings = nn.Sequential(*(layer for group in dense for layer in group))
        self.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))

    def windows(self, waveform):  # (n,) to patches of the log-mel, (windows, 1, 96 frames, 64 bands)
        waveform = nn.functional.pad(waveform, (0, max(0, 95 * 160 + 400 - len(waveform))))
        frames = waveform.unfold(0, 400, 160) * torch.hann_window(400, device=waveform.device)
        mel = torch.log(torch.fft.rfft(frames, 512).abs() @ mel_matrix().to(waveform.device) + 0.01)
        return mel[: len(mel) // 96 * 96].reshape(-1, 1, 96, 64)

    def embed(self, windows):  # (B, 1, 96, 64) to (B, 128); TensorFlow flattens (height, width, channels)
        return self.embeddings(self.features(windows).permute(0, 2, 3, 1).flatten(1)).float()


def mel_matrix():
    """(257 bins, 64 bands) from 125 to 7500 Hz; triangles on HTK's mel scale, and nothing of bin 0."""
    bins = 1127 * torch.log1p(torch.linspace(0, 8000, 257, dtype=torch.float64) / 700)[:, None]
    low, high = (1127 * torch.log1p(torch.tensor(f / 700, dtype=torch.float64)) for f in (125.0, 7500.0))
    edges = torch.linspace(float(low), float(high), 66, dtype=torch.float64)
    rising, falling = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[0] = 0
    return weights.float()
