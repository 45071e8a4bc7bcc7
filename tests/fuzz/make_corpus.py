#!/usr/bin/env python3
"""make_corpus.py: writes the seeds of the fuzz targets (tests/fuzz/corpus/NAME/seed-*), a few KB each.

Run it again after a format has changed; what fuzzing found (crash-*, found-*) stays. Needs nothing but
Python 3; neither the build nor any test runs it."""

import glob
import gzip
import io
import json
import os
import sqlite3
import struct
import tempfile
import zipfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def seed(target, name, data):
    folder = os.path.join(ROOT, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "seed-" + name), "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)


# ---- configuration, safetensors, index

CONFIG = {
    "model_type": "llama", "hidden_act": "silu", "num_hidden_layers": 2, "hidden_size": 8,
    "intermediate_size": 12, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 1e4, "bos_token_id": 1,
    "eos_token_id": [2, 3], "tie_word_embeddings": False, "rope_scaling": None,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}


def config():
    seed("config", "llama2", json.dumps(CONFIG))
    seed("config", "llama3", json.dumps(dict(CONFIG, rope_scaling=LLAMA3, head_dim=4)))
    seed("config", "parameters", json.dumps(dict(CONFIG, rope_parameters=dict(LLAMA3, rope_theta=5e5))))
    seed("config", "huge", json.dumps(dict(CONFIG, hidden_size=1 << 20, vocab_size=1 << 24, head_dim=4096)))


SMALL = [("model.embed_tokens", 4), ("model.norm", 0), ("model.layers.0.input_layernorm", 0),
         ("model.layers.0.post_attention_layernorm", 0)] + [
    ("model.layers.0." + name, 2) for name in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")]


def file_of(tensors):
    """tensors: (name, dtype, shape, bytes)"""
    header, data = {}, b""
    for name, dtype, shape, raw in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def plain(name, rows):
    shape = [rows, 2] if rows else [2]
    return (name + ".weight", "BF16", shape, b"\x80\x3f" * (2 * (rows or 1)))


def compressed(name):
    return [(name + ".compressed", "BF16", [2], b"\x80\x3f\x80\x3f"),
            (name + ".bitmask", "U8", [2, 1], b"\x01\x02"),
            (name + ".shape", "I64", [2], struct.pack("<2q", 2, 2)),
            (name + ".row_offsets", "I64", [2, 1], struct.pack("<2q", 0, 1))]


def safetensors():
    seed("safetensors", "one", file_of([plain("a", 2)]))
    seed("safetensors", "three", file_of([plain("a", 2), plain("b", 0), ("c", "I64", [], b"8bytes..")]))
    seed("safetensors", "empty-tensor", file_of([("a", "F32", [0, 5], b""), plain("b", 0)]))
    seed("safetensors", "overflow",
         struct.pack("<Q", 90) + b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,0]}}'.ljust(90))
    seed("safetensors", "long-header", struct.pack("<Q", 1 << 63) + b"{}")
    whole = [plain(n, r) for n, r in SMALL]
    seed("checkpoint", "plain", file_of(whole))
    seed("checkpoint", "bitmask", file_of([t for t in whole if "q_proj" not in t[0]] +
                                          compressed("model.layers.0.self_attn.q_proj")))
    names = {n + ".weight": "a.safetensors" if i == 0 else "b.safetensors" for i, (n, _) in enumerate(SMALL)}
    seed("index", "good", json.dumps({"metadata": {"total_size": 1}, "weight_map": names}))
    seed("index", "climbs", json.dumps({"weight_map": {"a": "../a.safetensors"}}))


# ---- tokenizers

def spelling(b):
    keep = list(range(33, 127)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    other = [x for x in range(256) if x not in keep]
    return chr(b) if b in keep else chr(256 + other.index(b))


LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
                r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def tokenizer_json(split):
    vocab = {spelling(b): b for b in range(256)}
    vocab.update({"he": 256, "ll": 257, "hell": 258})
    return json.dumps({
        "added_tokens": [{"id": 300, "content": "<|bos|>", "special": True}],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]},
        "post_processor": {"type": "TemplateProcessing",
                           "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}},
                                      {"Sequence": {"id": "A", "type_id": 0}}],
                           "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [300]}}},
        "model": {"type": "BPE", "ignore_merges": True, "vocab": vocab,
                  "merges": ["h e", ["l", "l"], "he ll"]}}, separators=(",", ":"), ensure_ascii=False)


def tokenizers():
    seed("tokenizer", "llama3", tokenizer_json(LLAMA3_SPLIT))
    seed("tokenizer", "short-split", tokenizer_json(r"\s+|\S+"))
    for i, p in enumerate([LLAMA3_SPLIT, r" ?\p{L}+| ?\p{N}+|\s+(?!\S)|\s+", r"a{2,3}|[^\r\n]+", "(a+)+(?=b)"]):
        seed("split", str(i), p + "\nhello we'll  x12 aaaaaaaaaaaaaaaa \xe9\n")
    seed("tiktoken", "lines", "IQ== 0\nIg== 1\naGVsbG8= 127999\nISE= 2")
    seed("tiktoken", "whole", "IQ== 0\nIg== 1\nwhole")
    seed("tiktoken", "bad", "I=Q= 0\n==== 1\nIQ== 128000\nIQ==\n 5\n")
    seed("sentencepiece", "small", sentencepiece(range(4)))
    # a last "B" stands for the pieces of all bytes
    seed("sentencepiece", "whole", sentencepiece([], ["\u2581", "h", "e", "l", "o", "he", "\u2581he"]) + b"B")
    seed("sentencepiece", "words", sentencepiece(range(2), ["\u2581", "h", "e", "l", "o", "he", "\u2581he"]))


def varint(v):
    out = b""
    while v > 127:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def sentencepiece(some_bytes, words=("h", "e")):
    def piece(text, score, kind):
        return field(1, field(1, text) + field(2, score) + field(3, kind))

    out = piece("<unk>", 0.0, 2) + piece("<s>", 0.0, 3) + piece("</s>", 0.0, 3)
    for b in some_bytes:
        out += piece("<0x%02X>" % b, 0.0, 6)
    for i, w in enumerate(words):
        out += piece(w, -float(i), 1)
    out += field(2, field(3, 2) + field(35, 1))
    return out + field(3, field(1, "identity") + field(3, 1) + field(4, 0))


# ---- documents, calibration, JSON

def documents():
    lines = [
        # in the order of tasks[] (tasks/tasks.c); labels come after a line "%"
        {"goal": "To open", "sol1": "push", "sol2": "pull"},
        {"ind": 1, "activity_label": "Sun", "ctx_a": "A man", "ctx_b": "he", "ctx": "A man he",
         "endings": ["a", "b [title]", "c", "d"], "label": 1, "source_id": "x~1", "split": "val",
         "split_type": "zeroshot"},
        {"qID": "1", "sentence": "Ann saw Eve as _ left.", "option1": "Ann", "option2": "Eve", "answer": "1"},
        {"id": "a", "question": {"stem": "Why?", "choices": [{"text": "x", "label": "A"}, {"text": "y", "label": "B"},
                                                             {"text": "z", "label": "C"}]}, "answerKey": "B"},
        {"id": "b", "question": {"stem": "Why", "choices": [{"text": "x", "label": "1"}, {"text": "y", "label": "2"},
                                                            {"text": "z", "label": "3"}, {"text": "w", "label": "4"}]},
         "answerKey": "4"},
        {"id": "c", "question": {"stem": "Frilled sharks", "choices": [
            {"text": "w", "label": "A"}, {"text": "x", "label": "B"}, {"text": "y", "label": "C"},
            {"text": "z", "label": "D"}]}, "answerKey": "A"},
        {"question": "is it", "passage": "It is.", "idx": 0, "label": True},
    ]
    for which, line in enumerate(lines):
        text = json.dumps(line, ensure_ascii=False).encode()
        seed("tasks", str(which), bytes([which]) + text + b"\n%\n1\n")
    seed("json", "object", '{"a": [1, -2.5e3, true, null], "size": {"b": "\\u00e9\\n"}, "c": "x"}')
    seed("json", "empty", "{ }")
    seed("json", "twice", '{"a": 1, "a": 2}')
    seed("json", "deep", "[" * 1001 + "]" * 1001)
    seed("json", "edit", '{"x": {"size": 1}, "size" : [1, {"y": "}"}] , "z": "\u00e9"}')
    ids = struct.pack("<6i", 1, 2, 3, 4, 5, 999)
    side = '{"n_windows": 2, "window": 3, "sha256": "%s"}'
    import hashlib
    seed("calib", "ids", ids)
    seed("calib", "side", b"s" + (side % hashlib.sha256(ids).hexdigest()).encode() + b"\n" + ids)
    groups = ["qkv", "o", "gate_up", "down"]
    seed("calib", "ratios", json.dumps({"%d.%s" % (l, g): 0.5 for l in range(2) for g in groups}))


# ---- archives, journal, HTTP

def zipped(name, data, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def archives():
    gz = gzip.compress(b'{"text": "one"}\n{"text": "two"}\n', mtime=0)
    seed("archive", "zip", b"\0" + zipped("a.txt", b"hello hello hello"))
    seed("archive", "zip-stored", b"\0" + zipped("a.txt", b"hello", zipfile.ZIP_STORED))
    seed("archive", "zip-climbs", b"\0" + zipped("../a.txt", b"hello"))
    seed("archive", "zip-bomb", b"\0" + zipped("a.txt", b"\0" * (1 << 21)))
    seed("archive", "gz", b"\1" + gz)
    seed("archive", "gz-lines", b"\2" + gz)
    seed("archive", "gz-two", b"\2" + gz + gz)
    seed("archive", "jsonl", b'\3{"a": 1}\nrest')
    seed("archive", "json", b'\4{"a": [1]}')
    seed("archive", "page", b"\4<!doctype html>")
    seed("archive", "safetensors", b"\5" + file_of([plain("a", 2)]))


def journals():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "j")
        db = sqlite3.connect(path)
        db.execute("PRAGMA page_size = 512")
        db.execute("CREATE TABLE results (cell TEXT NOT NULL, item TEXT NOT NULL, payload BLOB NOT NULL,"
                   " checksum TEXT NOT NULL, PRIMARY KEY (cell, item)) WITHOUT ROWID")
        db.execute("PRAGMA user_version = 1")
        import hashlib
        payload = struct.pack("<2d", 1.0, 2.0)
        sum_of = hashlib.sha256(b"cell\0item\0" + payload).hexdigest()[:16]
        db.execute("INSERT INTO results VALUES ('cell', 'item', ?, ?)", (payload, sum_of))
        db.execute("INSERT INTO results VALUES ('cell', 'other', ?, ?)", (payload, sum_of))
        db.commit()
        db.close()
        with open(path, "rb") as f:
            seed("journal", "two-rows", f.read())
    seed("journal", "empty", b"")
    seed("journal", "text", b"no journal")


OK = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"one\"\r\n\r\nhello"


def answers():
    cut = OK.replace(": 5", ": 10")
    seed("http", "ok", OK)
    seed("http", "cut-and-continued", cut + "\n%\nHTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/10\r\n"
         "Content-Length: 5\r\nETag: \"one\"\r\n\r\nworld")
    seed("http", "changed", cut + "\n%\n" + OK.replace("one", "two"))
    seed("http", "range-wrong", cut + "\n%\nHTTP/1.1 206 P\r\nContent-Range: bytes 3-9/10\r\nContent-Length: 7\r\n\r\nloworld")
    seed("http", "chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n")
    seed("http", "redirect", "HTTP/1.1 302 Found\r\nLocation: http://other.test/x\r\nContent-Length: 0\r\n\r\n\n%\n" + OK)
    seed("http", "redirect-home", "HTTP/1.1 307 T\r\nLocation: /y\r\nX-Linked-ETag: \"" + "ab" * 32 + "\"\r\n"
         "Content-Length: 0\r\n\r\n\n%\n" + OK)
    seed("http", "redirect-user", "HTTP/1.1 302 F\r\nLocation: http://hub.test@other.test/\r\n\r\n\n%\n" + OK)
    seed("http", "loop", "\n%\n".join(["HTTP/1.1 301 M\r\nLocation: http://hub.test/file\r\nContent-Length: 0\r\n\r\n"] * 5))
    seed("http", "busy", "HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n\n%\nHTTP/1.1 429 No\r\n\r\n\n%\n" + OK)
    seed("http", "denied", "HTTP/1.1 401 No\r\nX-Error-Code: RepoNotFound\r\nContent-Length: 2\r\n\r\nno")
    seed("http", "too-large", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx")
    seed("http", "interim", "HTTP/1.1 100 Continue\r\n\r\n" + OK)
    seed("http", "weak", OK.replace("\"one\"", "W/\"one\""))


def records():
    record = {"model": "m", "method": "wanda", "weight_sparsity": 0.5, "act_sparsity": 0, "protocol": "lmeval-0.4",
              "task": "piqa", "n": 2, "metric": "acc", "value": 0.5, "stderr": 0.1, "time": "2026-01-02T03:04:05Z"}
    line = json.dumps(record)
    seed("records", "one", line + "\n")
    seed("records", "two", line + "\n\n" + json.dumps(dict(record, metric="acc_norm", stderr=None)))
    seed("records", "unknown", json.dumps(dict(record, colour=["red", {"a": 1}], samples_ns=[1, 2.5])))
    seed("records", "speed", json.dumps(dict(record, task="bench", metric="median_ns", speedup=2.0, path="own")))
    tables = os.path.join(ROOT, "..", "..", "..", "scripts", "tables")
    for name in ("demo-50", "demo-speed"):
        with open(os.path.join(tables, name + ".json"), "rb") as f:
            seed("table_spec", name, f.read())


def main():
    for old in glob.glob(os.path.join(ROOT, "*", "seed-*")):
        os.remove(old)
    for make in (config, safetensors, tokenizers, documents, archives, journals, answers, records):
        make()


main()
