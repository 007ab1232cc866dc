"""RL steps in TRL's GRPOTrainer with the DAPO loss, on prompts of random words. One JSON line per optimiser step.

Groups, lengths, sampling, clipping and reward are those of `weir bench grpo`; each completion has a fixed number of
tokens. Needs: torch, transformers, trl, datasets, accelerate.
"""

import argparse
import random
import tempfile
import time

from datasets import Dataset
from tokenizers import Tokenizer, models as tokenizer_models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import model as models
from report import report

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--dtype", choices=["f32", "bf16"], required=True)
parser.add_argument("--prompt", type=int, default=1024)
parser.add_argument("--completion", type=int, default=64)
parser.add_argument("--group", type=int, default=8)
parser.add_argument("--prompts", type=int, default=4)
parser.add_argument("--steps", type=int, default=3, help="measured steps")
parser.add_argument("--warmup", type=int, default=1, help="steps before them")
parser.add_argument("--rows", type=int, help="sequences of a micro-batch; all of a step where not given")
parser.add_argument("--model", help="Hugging Face folder")
args = parser.parse_args()

sequences = args.group * args.prompts
rows = args.rows or sequences
total = args.warmup + args.steps
random.seed(1)


def word_tokenizer(size):
    """One word per id, so that a prompt of n words has n tokens; the last three ids are special."""
    words = {f"w{i}": i for i in range(size - 3)}
    words |= {"<pad>": size - 3, "<eos>": size - 2, "<unk>": size - 1}
    inner = Tokenizer(tokenizer_models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, padding_side="left", **names)


vocabulary = models.SHAPE["vocab_size"]
policy = models.load(args.model, pad_token_id=vocabulary - 3, eos_token_id=vocabulary - 2)
vocabulary = policy.config.vocab_size


def prompt():
    return " ".join(f"w{random.randrange(vocabulary - 3)}" for _ in range(args.prompt))


def parity(completions, **_):
    return [float(len(set(text.split())) % 2) for text in completions]


class TimedTrainer(GRPOTrainer):
    generate_s = 0.0

    def _generate_and_score_completions(self, *inputs, **options):
        started = time.perf_counter()
        result = super()._generate_and_score_completions(*inputs, **options)
        self.generate_s += time.perf_counter() - started
        return result


class Clock(TrainerCallback):
    """Times whole optimiser steps, accumulation included."""

    step = 0
    started = 0.0

    def on_step_begin(self, *_, **__):
        trainer.generate_s = 0.0
        self.started = time.perf_counter()

    def on_step_end(self, *_, **__):
        step_s = time.perf_counter() - self.started
        generate_s = trainer.generate_s
        report(
            self.step,
            self.step < args.warmup,
            step_s=step_s,
            generate_s=generate_s,
            train_s=step_s - generate_s,
            sampled_tok_per_s=sequences * args.completion / generate_s,
        )
        self.step += 1


with tempfile.TemporaryDirectory() as folder:
    trainer = TimedTrainer(
        model=policy,
        processing_class=word_tokenizer(vocabulary),
        reward_funcs=parity,
        train_dataset=Dataset.from_list([{"prompt": prompt()} for _ in range(args.prompts * total)]),
        args=GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=sequences // rows,
            num_generations=args.group,
            max_completion_length=args.completion,
            generation_kwargs={"min_new_tokens": args.completion},
            temperature=0.7,
            top_p=0.95,
            loss_type="dapo",
            epsilon=0.2,
            epsilon_high=0.28,
            beta=0.0,
            learning_rate=2e-6,
            max_steps=total,
            use_cpu=True,
            bf16=args.dtype == "bf16",
            gradient_checkpointing=False,
            save_strategy="no",
            logging_steps=total,
            report_to=[],
            disable_tqdm=True,
            seed=1,
        ),
        callbacks=[Clock()],
    )
    trainer.train()
