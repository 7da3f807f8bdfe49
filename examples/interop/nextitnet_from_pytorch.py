#!/usr/bin/env python3
"""Writes the weights of a PyTorch NextItNet as Refrain's NextItNet reads them:  nextitnet_from_pytorch.py OUT.safetensors

The network here is small and untrained; put your own in its place and keep refrain_tensors().  What it does, name by name, is in
docs/interop.md; build/release/examples/load_nextitnet reads the file.
"""

import sys

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """x + relu(norm2(conv2(relu(norm1(conv1(x)))))), dilations d and 2 d, over [B,T,C]."""

    def __init__(self, channels, width, dilation):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, width, dilation=dilation)
        self.norm1 = nn.LayerNorm(channels, eps=1e-8)
        self.conv2 = nn.Conv1d(channels, channels, width, dilation=2 * dilation)
        self.norm2 = nn.LayerNorm(channels, eps=1e-8)

    @staticmethod
    def convolve(conv, x, causal):
        reach = (conv.kernel_size[0] - 1) * conv.dilation[0]
        padding = (reach, 0) if causal else (reach // 2, reach - reach // 2)
        return conv(functional.pad(x.transpose(1, 2), padding)).transpose(1, 2)

    def forward(self, x, causal):
        h = torch.relu(self.norm1(self.convolve(self.conv1, x, causal)))
        return x + torch.relu(self.norm2(self.convolve(self.conv2, h, causal)))


class NextItNet(nn.Module):
    """Item ids [B,T] -> hidden vectors [B,T,C] (hidden) -> scores of all items [B,T,items]."""

    def __init__(self, items, channels, dilations, width=3, causal=True):
        super().__init__()
        self.embedding = nn.Embedding(items, channels)
        self.blocks = nn.ModuleList(Block(channels, width, dilation) for dilation in dilations)
        self.head = nn.Linear(channels, items)
        self.dilations, self.causal = tuple(dilations), causal

    def hidden(self, ids):
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, self.causal)
        return x

    def forward(self, ids):
        return self.head(torch.relu(self.hidden(ids)))


def convolution_weight(weight):
    """[out,in,K], newest tap last -> [K,in,out], newest tap first."""
    return weight.flip(2).permute(2, 1, 0).contiguous()


def refrain_tensors(state):
    """A state_dict of the network above under Refrain's names and in its layouts."""
    tensors = {}
    for name, value in state.items():
        layer = name.split(".")[-2]
        if layer.startswith("conv") and name.endswith(".weight"):
            value = convolution_weight(value)
        if layer.startswith("norm"):
            name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        tensors[name] = value.detach().float().contiguous()
    return tensors


def save(model, path):
    """The dilations go along as a text: they cannot be seen from the weights."""
    texts = {"dilations": ",".join(map(str, model.dilations)), "padding": "causal" if model.causal else "same"}
    save_file(refrain_tensors(model.state_dict()), path, metadata=texts)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    torch.manual_seed(1)
    save(NextItNet(items=100, channels=16, dilations=(1, 2, 4)), sys.argv[1])
