#!/usr/bin/env python3
"""Perplexity windows by transformers in float32 on all cores: tokens/s beside `duo eval -t wikitext2`.

Development only; users need no Python. Random ids: the speed does not depend on the text.

    scripts/bench_transformers.py -m MODEL_DIR [--windows 4] [--window 2048]
"""
import argparse
import time

import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("-m", "--model", required=True)
parser.add_argument("--windows", type=int, default=4)
parser.add_argument("--window", type=int, default=2048)
args = parser.parse_args()

model = AutoModelForCausalLM.from_pretrained(args.model, torch_dtype=torch.float32).eval()
ids = torch.randint(3, model.config.vocab_size, (args.windows + 1, args.window))
with torch.no_grad():
    for i, window in enumerate(ids):
        if i == 1:  # the first warms up
            start = time.perf_counter()
        logits = model(window[None]).logits[0, :-1]
        logprob = torch.log_softmax(logits, -1).gather(1, window[1:, None])
        float(logprob.mean())
seconds = time.perf_counter() - start
print(f"{args.windows * args.window / seconds:.0f} tokens/s, {torch.get_num_threads()} threads, torch {torch.__version__}")
