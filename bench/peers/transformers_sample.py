"""Sampling with transformers' generate: groups per prompt, nucleus sampling, a fixed number of new tokens.
One JSON line per call. bf16 holds the weights in bfloat16, which is what its users do where they only sample.
Needs: torch, transformers.
"""

import argparse
import time

import torch

import model as models
from report import report

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dtype", choices=["f32", "bf16"], required=True)
parser.add_argument("--rows", type=int, default=32)
parser.add_argument("--group", type=int, default=8)
parser.add_argument("--prompt", type=int, default=256)
parser.add_argument("--completion", type=int, default=64)
parser.add_argument("--steps", type=int, default=3, help="measured calls")
parser.add_argument("--warmup", type=int, default=1, help="calls before them")
parser.add_argument("--model", help="Hugging Face folder")
args = parser.parse_args()

model = models.load(args.model, pad_token_id=0).eval()
if args.dtype == "bf16":
    model = model.to(torch.bfloat16)

for step in range(args.warmup + args.steps):
    prompts = torch.randint(model.config.vocab_size, (args.rows // args.group, args.prompt))
    started = time.perf_counter()
    with torch.inference_mode():
        sequences = model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            do_sample=True,
            temperature=0.7,
            top_p=0.95,
            top_k=0,
            num_return_sequences=args.group,
            max_new_tokens=args.completion,
            min_new_tokens=args.completion,
        )
    seconds = time.perf_counter() - started
    new = sequences[:, args.prompt :].numel()
    assert new == args.rows * args.completion, f"expected {args.rows * args.completion} new tokens, got {new}"
    report(step, step < args.warmup, seconds=seconds, tok_per_s=new / seconds)
