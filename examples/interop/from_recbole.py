#!/usr/bin/env python3
"""Writes a network that RecBole trained as load_recbole reads it:  from_recbole.py CHECKPOINT.pth OUT.safetensors

GRU4Rec and NextItNet. Runs in the Python that has RecBole, since a checkpoint holds RecBole's configuration as a Python object.
Loading a checkpoint can run code in it: convert only files that you trust.

RecBole multiplies a projection of the hidden vector h with the item table E: scores = E (W h + b). Refrain's head has a row per
item: head.weight = E W and head.bias = E b. docs/interop.md lists all names.
"""

import sys

import numpy as np


def folded_head(table, dense_weight, dense_bias):
    """head.weight [items,H] and head.bias [items] of the projection [E,H], [E] and the item table [items,E]."""
    table = table.astype(np.float64)
    return {"head.weight": table @ dense_weight.astype(np.float64), "head.bias": table @ dense_bias.astype(np.float64)}


def gru4rec_tensors(state):
    """Its GRU has no biases."""
    tensors = {"embedding.weight": state["item_embedding.weight"]}
    layer = 0
    while f"gru_layers.weight_ih_l{layer}" in state:
        tensors[f"controller.layers.{layer}.weight_x"] = state[f"gru_layers.weight_ih_l{layer}"]
        tensors[f"controller.layers.{layer}.weight_h"] = state[f"gru_layers.weight_hh_l{layer}"]
        for name in ("bias", "bias_h"):
            tensors[f"controller.layers.{layer}.{name}"] = np.zeros(len(state[f"gru_layers.weight_ih_l{layer}"]))
        layer += 1
    return {**tensors, **folded_head(state["item_embedding.weight"], state["dense.weight"], state["dense.bias"])}


def convolution_weight(weight):
    """[out,in,1,K], newest tap last -> [K,in,out], newest tap first."""
    return weight[:, :, 0, ::-1].transpose(2, 1, 0)


def nextitnet_tensors(state):
    tensors = {"embedding.weight": state["item_embedding.weight"]}
    for name, value in state.items():
        if not name.startswith("residual_blocks."):
            continue
        _, block, layer, kind = name.split(".")
        if layer.startswith("conv"):
            value = convolution_weight(value) if kind == "weight" else value
        else:
            layer, kind = layer.replace("ln", "norm"), {"weight": "gamma", "bias": "beta"}[kind]
        tensors[f"blocks.{block}.{layer}.{kind}"] = value
    head = folded_head(state["item_embedding.weight"], state["final_layer.weight"], state["final_layer.bias"])
    return {**tensors, **head}


def save(path, model, state, length, dilations=()):
    """Writes the state_dict of RecBole's `model` as NumPy arrays; length: MAX_ITEM_LIST_LENGTH; dilations: of all blocks."""
    from safetensors.numpy import save_file

    converters = {"GRU4Rec": gru4rec_tensors, "NextItNet": nextitnet_tensors}
    if model not in converters:
        raise ValueError(f"expected the model {' or '.join(converters)}, got {model}")
    tensors = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in converters[model](state).items()}
    texts = {"model": model, "length": str(length), "dilations": ",".join(map(str, dilations))}
    save_file(tensors, path, metadata=texts)


def convert(checkpoint, path):
    import torch

    saved = torch.load(checkpoint, map_location="cpu", weights_only=False)
    if not isinstance(saved, dict) or not {"config", "state_dict"} <= saved.keys():
        raise ValueError(f"{checkpoint}: expected a checkpoint of RecBole, with 'config' and 'state_dict'")
    config, state = saved["config"], {name: value.numpy() for name, value in saved["state_dict"].items()}
    dilations = config["dilations"] * config["block_num"] if config["model"] == "NextItNet" else ()
    save(path, config["model"], state, config["MAX_ITEM_LIST_LENGTH"], dilations)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        convert(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(f"from_recbole: {error}")
