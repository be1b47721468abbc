"""Small models with awkward layers, each a place where counters are known to differ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Layers(nn.Module):
    """One of most layer kinds, affine and not, grouped and transposed."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(3, 8, 3, stride=2, bias=True),
            nn.GroupNorm(2, 8),
            nn.InstanceNorm2d(8),
            nn.InstanceNorm2d(8, affine=True),
            nn.MaxPool2d(2),
            nn.AvgPool2d(2),
            nn.PReLU(),
            nn.LeakyReLU(),
            nn.ELU(),
            nn.SiLU(),
            nn.GELU(),
            nn.Hardswish(),
            nn.BatchNorm2d(8, affine=False),
            nn.Conv2d(8, 8, 3, groups=4, padding=1),
            nn.Conv2d(8, 8, 3, padding="same", dilation=2),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(2),
            nn.LayerNorm(9),
            nn.LayerNorm(9, elementwise_affine=False),
            nn.Linear(9, 4),
            nn.Linear(4, 4, bias=False),
            nn.Softmax(-1),
            nn.Conv1d(8, 6, 2),
        )

    def forward(self, x):
        return self.layers(x)


class Functions(nn.Module):
    """The same operation through an operator, a function and a method: libraries patch only some."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.near = nn.Upsample(scale_factor=2)
        self.act = nn.ReLU()

    def forward(self, x):
        x = self.act(self.conv(x))
        x = self.act(x)  # one module, called twice
        x = torch.add(x, x)
        x = x.mul(x) * x + x
        x += 1
        x = F.avg_pool2d(F.relu(x), 2)
        x = self.near(self.up(x))
        x = F.interpolate(x, scale_factor=2)
        x = F.adaptive_avg_pool2d(x, 4)
        y = x.flatten(2)
        z = F.softmax(torch.matmul(y.transpose(1, 2), y), -1)
        return z @ y.transpose(1, 2), F.silu(x).mean([2, 3])


class Recurrent(nn.Module):
    """Recurrent layers: several deep, both ways, without biases, and a cell."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(10, 7, batch_first=True)
        self.rnn = nn.RNN(7, 3, bias=False, batch_first=True)
        self.cell = nn.LSTMCell(3, 4)

    def forward(self, x):
        x, _ = self.lstm(x)
        x, _ = self.gru(x)
        x, _ = self.rnn(x)
        return self.cell(x[:, 0])


class Attention(nn.Module):
    """Attention with and without its weights, and an encoder with a fused fast path."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.transformer = nn.Transformer(16, 4, 1, 1, 32, batch_first=True)

    def forward(self, tokens):
        x = self.embedding(tokens)
        y, _ = self.attention(x, x, x)
        return self.transformer(x + y, x[:, :4])


class Block(nn.Module):
    """A language model's block as people write it: fused attention, RMS norm, gated units, tied weights."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.before, self.after = nn.RMSNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48, bias=False), nn.Linear(16, 16)
        self.gate, self.up, self.down = nn.Linear(16, 24), nn.Linear(16, 24), nn.Linear(24, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        split = (t.unflatten(-1, (4, 4)).transpose(1, 2) for t in self.qkv(self.before(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(*split, is_causal=True).transpose(1, 2).flatten(2))
        y = self.after(x)
        return self.head(x + self.down(F.silu(self.gate(y)) * self.up(y)))


class TwoInputs(nn.Module):
    """Takes two tensors."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 8)

    def forward(self, left, right):
        return self.fc(left) + self.fc(right)
