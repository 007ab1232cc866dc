"""Supervised optimiser steps in PyTorch: forward, backward, fused AdamW on rows of random tokens. One JSON line per step.

The modes are those that PyTorch users have on a CPU: float32, autocast to bfloat16, and the latter compiled.
Needs: torch, transformers.
"""

import argparse
import contextlib
import time

import torch

import model as models
from report import report

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--mode", choices=["f32", "bf16", "compile-bf16"], required=True)
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--length", type=int, default=256)
parser.add_argument("--steps", type=int, default=12, help="measured steps")
parser.add_argument("--warmup", type=int, default=4, help="steps before them")
parser.add_argument("--model", help="Hugging Face folder")
args = parser.parse_args()


def precision():
    if "bf16" in args.mode:
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()


model = models.load(args.model).train()
vocabulary = model.config.vocab_size
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
forward = torch.compile(model) if args.mode.startswith("compile") else model

for step in range(args.warmup + args.steps):
    ids = torch.randint(vocabulary, (args.batch, args.length))
    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with precision():
        loss = forward(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    value = loss.item()
    seconds = time.perf_counter() - started
    report(step, step < args.warmup, step_s=seconds, tok_per_s=ids.numel() / seconds, loss=value)
