#!/usr/bin/env python3
"""Checks duo's scores against lm-evaluation-harness, request by request. Development only: users of duo never need Python.

lm-eval's own tasks, prompts, metrics and HFLM scoring run with transformers in float32 on a local checkpoint and on local files in
the publishers' layout (archives read in place); nothing is fetched. The BOS habit is that of the installed lm-eval: none up to
0.4.9.1, the tokenizer's default from 0.4.9.2 on.

  parity.py -m DIR --data DIR --dump ORACLE [--tokens-only]     score (or only tokenise) and write the oracle
  parity.py --oracle ORACLE --compare SAMPLES                   compare duo's `--log-samples` folder with a written oracle
  parity.py -m DIR --data DIR --compare SAMPLES                 both at once

An oracle folder holds, per task, TASK.requests.jsonl (one line per request, in lm-eval's order), TASK.documents.jsonl (target,
hashes and metrics of each document) and summary.json (aggregates and versions). A sample of duo may carry "tokens", a list of
[context ids, continuation ids] per request; where present it is compared too.

Needs: lm-eval, torch, transformers, datasets, sentencepiece, protobuf.
"""
import argparse
import glob
import json
import os
import sys
import zipfile

ABS_TOL, REL_TOL, TINY = 1e-3, 1e-4, 1e-5
SHOWN = 10  # mismatches printed per task
DOCUMENT_KEYS = ("doc_id", "target", "doc_hash", "prompt_hash", "target_hash", "acc", "acc_norm")


# ---- publishers' files -> the hub's fields, in the hub's order ---------------------------------------------------------------------
def read_bytes(path, member=None):
    if member is None:
        with open(path, "rb") as f:
            return f.read()
    with zipfile.ZipFile(path) as z:
        (name,) = (n for n in z.namelist() if n.endswith("/" + member) and not n.startswith("__MACOSX"))
        return z.read(name)


def read_jsonl(path, member=None):
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 and the like inside a text.
    return [json.loads(line) for line in read_bytes(path, member).split(b"\n") if line.strip()]


def piqa(data):
    labels = read_bytes(f"{data}/piqa/valid-labels.lst").split()
    docs = read_jsonl(f"{data}/piqa/valid.jsonl")
    if len(labels) != len(docs):
        raise SystemExit(f"piqa: {len(docs)} documents but {len(labels)} labels")
    return [{**{k: d[k] for k in ("goal", "sol1", "sol2")}, "label": int(y)} for d, y in zip(docs, labels)]


def hellaswag(data):
    return [{"ind": d["ind"], **{k: d.get(k, "") for k in ("activity_label", "ctx_a", "ctx_b", "ctx")},
             **{k: d[k] for k in ("endings", "source_id", "split", "split_type")}, "label": str(d["label"])}
            for d in read_jsonl(f"{data}/hellaswag/hellaswag_val.jsonl")]


def winogrande(data):
    return [{k: d[k] for k in ("sentence", "option1", "option2", "answer")}
            for d in read_jsonl(f"{data}/winogrande/winogrande_1.1.zip", "dev.jsonl")]


def questions(archive, member, name):
    return lambda data: [
        {"id": d["id"], name: d["question"]["stem"],
         "choices": {k: [c[k] for c in d["question"]["choices"]] for k in ("text", "label")}, "answerKey": d["answerKey"]}
        for d in read_jsonl(f"{data}/{archive}", member)]


def boolq(data):
    return [{"question": d["question"], "passage": d["passage"], "idx": d.get("idx", i), "label": int(d["label"])}
            for i, d in enumerate(read_jsonl(f"{data}/boolq/BoolQ.zip", "val.jsonl"))]


ARC, OBQA = "arc/ARC-V1-Feb2018.zip", "openbookqa/OpenBookQA-V1-Sep2018.zip"
TASKS = {  # name: (split scored, reader, folder of lm-eval's YAML)
    "piqa": ("validation", piqa, "piqa"),
    "hellaswag": ("validation", hellaswag, "hellaswag"),
    "winogrande": ("validation", winogrande, "winogrande"),
    "arc_easy": ("test", questions(ARC, "ARC-Easy-Test.jsonl", "question"), "arc"),
    "arc_challenge": ("test", questions(ARC, "ARC-Challenge-Test.jsonl", "question"), "arc"),
    "openbookqa": ("test", questions(OBQA, "Main/test.jsonl", "question_stem"), "openbookqa"),
    "boolq": ("validation", boolq, "super_glue/boolq"),
}


# ---- the oracle: lm-eval on local files --------------------------------------------------------------------------------------------
def load_tokenizer(folder):
    """The published tokenizer where the folder describes one, else what the published LLaMA folders describe."""
    import transformers
    if os.path.exists(f"{folder}/tokenizer_config.json"):
        return transformers.AutoTokenizer.from_pretrained(folder)
    if not os.path.exists(f"{folder}/tokenizer.json"):
        # LLaMA-2 form. Recent transformers add no BOS here unless told, and their LlamaTokenizer merges in another order.
        return transformers.AutoTokenizer.from_pretrained(folder, add_bos_token=True)
    # LLaMA-3 form. AutoTokenizer would take the class from the model's type and with it LLaMA-2's special tokens.
    config, tokenizer = (json.loads(read_bytes(f"{folder}/{name}")) for name in ("config.json", "tokenizer.json"))
    added = {t["id"]: t["content"] for t in tokenizer["added_tokens"]}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=f"{folder}/tokenizer.json", bos_token=added[config["bos_token_id"]],
        eos_token=added[config["eos_token_id"]], clean_up_tokenization_spaces=False)


def make_oracle(args):
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import datasets
    import lm_eval
    import torch
    import transformers
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    class Recorder(HFLM):
        """HFLM that remembers how it encoded each request and has the model compute only the logits that HFLM goes on to read."""

        def loglikelihood(self, requests, **kwargs):
            scores = super().loglikelihood(requests, **kwargs)
            self.record = list(zip(requests, self.encoded, scores))
            return scores

        def _loglikelihood_tokens(self, requests, **_):
            self.encoded = [r[1:] for r in requests]
            if args.tokens_only:
                return [(0.0, False)] * len(requests)
            order = sorted(range(len(requests)), key=lambda i: (-sum(map(len, self.encoded[i])), sum(self.encoded[i], [])))
            scores = [None] * len(requests)
            for begin in range(0, len(order), args.batch):
                if begin // args.batch % 50 == 0:
                    print(f"{begin} of {len(order)} requests", file=sys.stderr, flush=True)
                part = order[begin:begin + args.batch]
                whole = sum(map(len, self.encoded[part[0]])) <= self.max_length + 1  # the longest is not truncated
                self.first = min(len(self.encoded[i][0]) for i in part) - 1 if whole else 0
                for i, score in zip(part, super()._loglikelihood_tokens([requests[i] for i in part], disable_tqdm=True)):
                    scores[i] = score
            return scores

        def _model_call(self, inps, **_):
            with torch.inference_mode():
                return self.model(inps, use_cache=False, logits_to_keep=inps.shape[1] - self.first).logits

    def download(task, *_, **__):
        split, read, _ = TASKS[task.config.task]
        scored = datasets.Dataset.from_list(read(args.data)[:args.limit.get(task.config.task, args.limit.get(""))])
        unused = scored.select([0])  # few-shot splits must exist, though no example is drawn
        task.dataset = datasets.DatasetDict({s: scored if s == split else unused for s in ("train", "validation", "test")})

    datasets.disable_caching()
    datasets.disable_progress_bars()
    torch.set_num_threads(args.threads)
    ConfigurableTask.download = download
    model = args.model
    if args.tokens_only:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(args.model))
    lm = Recorder(pretrained=model, tokenizer=load_tokenizer(args.model), dtype="float32", device="cpu", batch_size=args.batch)
    folders = {f"{os.path.dirname(lm_eval.__file__)}/tasks/{TASKS[t][2]}" for t in args.tasks}
    manager = TaskManager(include_path=sorted(folders), include_defaults=False)
    result = lm_eval.simple_evaluate(model=lm, tasks=args.tasks, task_manager=manager, batch_size=args.batch, bootstrap_iters=100)

    requests = {t: [] for t in args.tasks}
    for request, (context_ids, continuation_ids), (ll, greedy) in lm.record:
        requests[request.task_name].append({
            "task": request.task_name, "doc_id": request.doc_id, "idx": request.idx,
            "context": request.args[0], "continuation": request.args[1],
            "context_ids": context_ids, "continuation_ids": continuation_ids,
            "ll": None if args.tokens_only else ll, "is_greedy": None if args.tokens_only else greedy})
    keys = DOCUMENT_KEYS[:-2] if args.tokens_only else DOCUMENT_KEYS
    documents = {t: [{k: d[k] for k in keys if k in d} for d in result["samples"][t]] for t in args.tasks}
    summary = {
        "results": None if args.tokens_only else result["results"], "versions": result["versions"],
        "n-samples": {t: len(documents[t]) for t in args.tasks}, "tokens_only": args.tokens_only,
        "bos_before_context": lm.tok_encode("a")[0] == lm.tokenizer.bos_token_id, "bos_token_id": lm.tokenizer.bos_token_id,
        "tokenizer": type(lm.tokenizer).__name__, "max_length": lm.max_length, "dtype": "float32",
        "lm_eval": lm_eval.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    return {"requests": requests, "documents": documents, "summary": summary}


# ---- oracle folders ----------------------------------------------------------------------------------------------------------------
def dump_oracle(oracle, folder):
    os.makedirs(folder, exist_ok=True)
    for kind in ("requests", "documents"):
        for task, rows in oracle[kind].items():
            with open(f"{folder}/{task}.{kind}.jsonl", "w", encoding="utf-8") as f:
                f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with open(f"{folder}/summary.json", "w") as f:
        json.dump(oracle["summary"], f, indent=2, default=str)


def load_oracle(folder, tasks):
    summary = json.loads(read_bytes(f"{folder}/summary.json"))
    tasks = [t for t in tasks if t in summary["n-samples"]]
    return {"summary": summary, **{k: {t: read_jsonl(f"{folder}/{t}.{k}.jsonl") for t in tasks} for k in ("requests", "documents")}}


# ---- comparison --------------------------------------------------------------------------------------------------------------------
def argmax(values):
    return max(range(len(values)), key=values.__getitem__)  # the first of equals


def compare_document(sample, requests, expected, tokens_only):
    """([(what differs, how)], largest absolute, largest relative difference) of one document."""
    faults, worst = [], [0.0, 0.0]
    arguments = [sample["arguments"][f"gen_args_{i}"] for i in range(len(sample["arguments"]))]
    prompts = [(a["arg_0"], a["arg_1"]) for a in arguments]
    if prompts != [(r["context"], r["continuation"]) for r in requests]:
        return [("prompt", f"{prompts!r:.300}")], *worst
    if "tokens" in sample and sample["tokens"] != [[r["context_ids"], r["continuation_ids"]] for r in requests]:
        faults.append(("tokens", f"{sample['tokens']!r:.300}"))
    faults += [("hash", k) for k in ("doc_hash", "prompt_hash", "target_hash") if sample.get(k) not in (None, expected[k])]
    if str(sample["target"]) != str(expected["target"]):
        faults.append(("target", f"{sample['target']!r}, expected {expected['target']!r}"))
    if tokens_only:
        return faults, *worst
    if sample["filtered_resps"] != [r[0] for r in sample["resps"]]:
        faults.append(("resps", "filtered_resps differ"))
    scores = [float(ll) for ll, _ in sample["filtered_resps"]]
    for i, (r, ll, (_, greedy)) in enumerate(zip(requests, scores, sample["filtered_resps"], strict=True)):
        d, size = abs(ll - r["ll"]), abs(r["ll"])
        worst = [max(worst[0], d), max(worst[1], d / max(size, TINY))]
        if not (d <= ABS_TOL and d <= REL_TOL * size + TINY):
            faults.append(("ll", f"choice {i}: {ll!r}, expected {r['ll']!r}"))
        if str(greedy) != str(r["is_greedy"]):
            faults.append(("greedy", f"choice {i}: {greedy}"))
    want = [r["ll"] for r in requests]
    if argmax(scores) != argmax(want):
        faults.append(("argmax", f"{argmax(scores)}, expected {argmax(want)}, margin {max(want) - want[argmax(scores)]:.3g}"))
    for metric in ("acc", "acc_norm"):
        if metric in expected and float(sample[metric]) != expected[metric]:
            faults.append((metric, f"{sample[metric]}, expected {expected[metric]}"))
    return faults, *worst


def compare(oracle, folder):
    good = True
    for task, documents in oracle["documents"].items():
        files = glob.glob(f"{glob.escape(folder)}/**/samples_{task}_*.jsonl", recursive=True)
        if len(files) != 1:
            raise SystemExit(f"{task}: {len(files)} files samples_{task}_*.jsonl under {folder}, expected 1")
        requests = {}
        for r in oracle["requests"][task]:
            requests.setdefault(r["doc_id"], []).append(r)
        expected = {d["doc_id"]: d for d in documents}
        samples = [s for s in read_jsonl(files[0]) if s["doc_id"] in expected]
        counts = dict.fromkeys(("argmax", "acc", "acc_norm", "ll", "greedy", "prompt", "tokens", "target", "hash", "resps"), 0)
        absolute = relative = shown = 0
        for s in samples:
            faults, a, r = compare_document(s, requests[s["doc_id"]], expected[s["doc_id"]], oracle["summary"]["tokens_only"])
            absolute, relative = max(absolute, a), max(relative, r)
            for kind, how in faults:
                counts[kind] += 1
                shown += 1
                if shown <= SHOWN:
                    print(f"  {task} document {s['doc_id']}: {kind}: {how}")
        print(f"{task}: {len(samples)} of {len(documents)} documents; largest difference {absolute:.2e} absolute, {relative:.2e} "
              "relative; mismatches: " + ", ".join(f"{k} {v}" for k, v in counts.items()))
        good &= bool(samples) and len({s["doc_id"] for s in samples}) == len(samples) and not any(counts.values())
    return good


def parse_limit(text):
    return {task: int(k) for task, _, k in (item.rpartition("=") for item in text.split(","))}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-m", "--model", help="checkpoint folder")
    p.add_argument("--data", help="folder in the publishers' layout")
    p.add_argument("--oracle", help="read the oracle from this folder instead of making it")
    p.add_argument("--dump", help="write the oracle to this folder")
    p.add_argument("--compare", help="folder of duo's --log-samples")
    p.add_argument("--tasks", default=",".join(TASKS), type=lambda s: s.split(","), help="comma list")
    p.add_argument("--limit", default={}, type=parse_limit, help="first K documents of each task, or TASK=K, comma list")
    p.add_argument("--tokens-only", action="store_true", help="requests and ids, no model")
    p.add_argument("--batch", type=int, default=32, help="requests per model call")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    for task in [*args.tasks, *filter(None, args.limit)]:
        if task not in TASKS:
            p.error(f"unknown task {task}; known: {' '.join(TASKS)}")
    if not args.oracle and not (args.model and args.data):
        p.error("needs -m and --data, or --oracle")
    oracle = load_oracle(args.oracle, args.tasks) if args.oracle else make_oracle(args)
    if args.dump:
        dump_oracle(oracle, args.dump)
    return 0 if not args.compare or compare(oracle, args.compare) else 1


if __name__ == "__main__":
    sys.exit(main())
