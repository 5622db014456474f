"""Writes the nets of tests/nets: small ones with random weights, exported as users export theirs, by PyTorch's two
exporters (TorchScript and dynamo) out of plain modules and of Hugging Face transformers, and by Keras.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-export.txt
    KERAS_BACKEND=torch .venv/bin/python tests/python/export_nets.py tests/nets

What is written is committed, so that the check (tests/python/nets.py) needs neither PyTorch nor Keras. Each file
says in its metadata which requests it takes: `requests` is a list of {input: {"shape": […], "below": n, "first": n}}, where
`below` bounds integers and `first` is what each row of them begins with.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np
import onnx
import torch
import transformers
from torch import nn
from torch.export import Dim

WORDS = 40  # the vocabulary of every net that takes tokens
TORCHSCRIPT_ONLY = {"loop"}  # dynamo unrolls it
DYNAMO_ONLY = {"text_classifier", "gpt2"}  # TorchScript bakes the example's length in, or has no such operator


class Residual(nn.Module):
    """Convolutions with a shortcut, normalised, pooled over whatever height and width come."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 8, 1)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, image):
        found = self.stem(image)
        found = torch.relu(found + self.block(found))
        return torch.softmax(self.head(nn.functional.adaptive_avg_pool2d(found, 1).flatten(1)), dim=1)


class Segmenter(nn.Module):
    """Down and up again, with a skip connection: an image goes in, a mask of its size comes out."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.last = nn.Conv2d(5, 2, 1)

    def forward(self, image):
        small = nn.functional.gelu(self.down(image))
        large = self.up(small)
        resized = nn.functional.interpolate(small, scale_factor=2.0, mode="nearest")
        return self.last(torch.cat([image, large + resized], dim=1))


class Recurrent(nn.Module):
    """A series in; its forecast and the last hidden state out."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(cell.hidden_size * (2 if cell.bidirectional else 1), 1)

    def forward(self, series):
        states, last = self.cell(series)
        hidden = last[0] if isinstance(last, tuple) else last
        return self.head(states).squeeze(2), hidden.transpose(0, 1).flatten(1)


class Scripted(nn.Module):
    """A recurrence written by hand: a Loop in TorchScript. A series in, its last state out."""

    def __init__(self):
        super().__init__()
        self.given, self.kept = nn.Linear(3, 8), nn.Linear(8, 8)

    def forward(self, series):
        state = torch.zeros(series.size(0), 8)
        for step in range(series.size(1)):
            state = torch.tanh(self.given(series[:, step]) + self.kept(state))
        return state


class TextClassifier(nn.Module):
    """Tokens and a mask of what is padding: embeddings with positions, self-attention, a mean over the real tokens."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 16)
        self.places = nn.Embedding(64, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens, is_padding):
        places = torch.arange(tokens.shape[1], device=tokens.device).unsqueeze(0)
        states = self.encoder(self.words(tokens) + self.places(places), src_key_padding_mask=is_padding)
        kept = (~is_padding).unsqueeze(2).to(states.dtype)
        return self.head((states * kept).sum(1) / kept.sum(1).clamp(min=1.0))


class Attention(nn.Module):
    """Two heads of scaled dot products. PyTorch's own module bakes the example's length into TorchScript."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, states, memory, is_causal):
        heads = [part.view(part.shape[0], part.shape[1], 2, 8).transpose(1, 2)
                 for part in (self.query(states), self.key(memory), self.value(memory))]
        mixed = nn.functional.scaled_dot_product_attention(*heads, is_causal=is_causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Translator(nn.Module):
    """Attention from one sequence to another of a different length, and of that to its own past."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 16)
        self.own, self.across = Attention(), Attention()
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, WORDS)

    def forward(self, source, target):
        states = self.words(target)
        states = self.norm(states + self.own(states, states, is_causal=True))
        return self.head(states + self.across(states, self.words(source), is_causal=False))


class Sentence(nn.Module):
    """What a sentence encoder does: the mean of the hidden states of real tokens, of length one."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids, attention_mask):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask.unsqueeze(-1).to(states.dtype)
        return nn.functional.normalize((states * kept).sum(1) / kept.sum(1).clamp(min=1e-9), dim=1)


class Logits(nn.Module):
    """The logits of a net of Hugging Face transformers, given tokens or pixels."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, given):
        return self.net(given).logits


class Mixed(nn.Module):
    """Inputs of several types, one of them a scalar for each row; outputs of several types."""

    def forward(self, numbers, choice, is_on, scale):
        chosen = numbers.gather(1, choice.unsqueeze(1)).squeeze(1)
        switched = torch.where(is_on, chosen * scale, chosen)
        return switched, numbers.argmax(1), numbers > scale.unsqueeze(1)


def floats(*shape):
    return {"shape": list(shape)}


def tokens(*shape, below=WORDS):
    return {"shape": list(shape), "below": below}


def flags(*shape, first):
    """Ones and zeros that begin, in each row, with the given one: attention to nothing at all is not a number."""
    return {"shape": list(shape), "below": 2, "first": first}


def data(spec, dtype):
    if dtype == torch.bool or dtype == torch.int64:
        return torch.randint(0, spec["below"], spec["shape"]).to(dtype)
    return torch.randn(spec["shape"], dtype=dtype)


def torch_nets():
    """Name, module, names of the inputs with their types, which axes are free, names of the outputs, requests.

    The first request is the exporter's example: dynamo takes a size of 1 in it for a constant."""
    image = {"image": torch.float32}
    sizes = [(2, 24, 32), (1, 16, 16), (5, 16, 40)]
    yield ("residual", Residual(), image, {"image": {0: "batch", 2: "height", 3: "width"}}, ["probabilities"],
           [{"image": floats(rows, 3, height, width)} for rows, height, width in sizes])
    yield ("segmenter", Segmenter(), image, {"image": {0: "batch", 2: "height", 3: "width"}}, ["mask"],
           [{"image": floats(rows, 1, height, width)} for rows, height, width in sizes])
    series = {"series": torch.float32}
    lengths = [{"series": floats(rows, length, 3)} for rows, length in [(2, 11), (1, 6), (3, 6)]]
    for name, cell in [
        ("lstm", nn.LSTM(3, 8, num_layers=2, batch_first=True, bidirectional=True)),
        ("gru", nn.GRU(3, 8, batch_first=True)),
    ]:
        yield name, Recurrent(cell), series, {"series": {0: "batch", 1: "length"}}, ["forecast", "last"], lengths
    yield ("rnn", Recurrent(nn.RNN(3, 8, batch_first=True)), series, {"series": {0: "batch"}}, ["forecast", "last"],
           [{"series": floats(rows, 6, 3)} for rows in (2, 1, 5)])
    yield "loop", torch.jit.script(Scripted()), series, {"series": {0: "batch", 1: "length"}}, ["last"], lengths
    masked = [{"tokens": tokens(rows, length), "is_padding": flags(rows, length, first=0)}
              for rows, length in [(2, 5), (1, 5), (4, 12)]]
    yield ("text_classifier", TextClassifier(), {"tokens": torch.int64, "is_padding": torch.bool},
           {"tokens": {0: "batch", 1: "length"}, "is_padding": {0: "batch", 1: "length"}}, ["scores"], masked)
    yield ("translator", Translator(), {"source": torch.int64, "target": torch.int64},
           {"source": {0: "batch", 1: "length"}, "target": {0: "batch", 1: "other"}}, ["scores"],
           [{"source": tokens(rows, source), "target": tokens(rows, target)}
            for rows, source, target in [(2, 7, 4), (1, 7, 4), (3, 5, 9)]])
    yield ("mixed", Mixed(), {"numbers": torch.float32, "choice": torch.int64, "is_on": torch.bool, "scale": torch.float32},
           {name: {0: "batch"} for name in ("numbers", "choice", "is_on", "scale")}, ["switched", "best", "is_large"],
           [{"numbers": floats(rows, 6), "choice": tokens(rows, below=6), "is_on": tokens(rows, below=2),
             "scale": floats(rows)} for rows in (2, 1, 7)])


def transformer_nets():
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    sentence = {"input_ids": torch.int64, "attention_mask": torch.int64}
    free = {name: {0: "batch", 1: "length"} for name in sentence}
    requests = [{"input_ids": tokens(rows, length), "attention_mask": flags(rows, length, first=1)}
                for rows, length in [(2, 6), (1, 6), (3, 13)]]
    bert = transformers.BertConfig(vocab_size=WORDS, max_position_embeddings=32, **size)
    yield "bert", Sentence(transformers.BertModel(bert, add_pooling_layer=False)), sentence, free, ["sentence"], requests
    distil = transformers.DistilBertConfig(
        vocab_size=WORDS, max_position_embeddings=32, dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    yield "distilbert", Sentence(transformers.DistilBertModel(distil)), sentence, free, ["sentence"], requests
    vit = transformers.ViTConfig(image_size=16, patch_size=8, num_labels=3, **size)
    yield ("vit", Logits(transformers.ViTForImageClassification(vit)), {"pixels": torch.float32},
           {"pixels": {0: "batch"}}, ["logits"], [{"pixels": floats(rows, 3, 16, 16)} for rows in (2, 1, 4)])
    gpt = transformers.GPT2Config(vocab_size=WORDS, n_positions=32, n_embd=16, n_layer=1, n_head=2, use_cache=False)
    yield ("gpt2", Logits(transformers.GPT2LMHeadModel(gpt)), {"tokens": torch.int64},
           {"tokens": {0: "batch", 1: "length"}}, ["logits"],
           [{"tokens": tokens(rows, length)} for rows, length in [(2, 6), (1, 6), (3, 13)]])


def export_torch(path, module, inputs, free, outputs, requests, dynamo):
    module = module.eval()
    example = tuple(data(requests[0][name], dtype) for name, dtype in inputs.items())
    keys = {"input_names": list(inputs), "output_names": outputs, "dynamo": dynamo}
    if dynamo:
        axes = {axis for own in free.values() for axis in own.values()}
        dims = {axis: Dim(axis) if axis not in ("height", "width") else Dim.DYNAMIC for axis in axes}
        keys["dynamic_shapes"] = [{axis: dims[label] for axis, label in free[name].items()} for name in inputs]
        keys |= {"external_data": False, "verbose": False}
    else:
        keys |= {"dynamic_axes": free | {name: {0: "batch"} for name in outputs}, "opset_version": 17}
    with torch.no_grad():
        torch.onnx.export(module, example, path, **keys)


def keras_nets():
    layers = keras.layers
    image = keras.Sequential([
        keras.Input((12, 16, 3)), layers.Conv2D(6, 3, activation="relu"), layers.SeparableConv2D(6, 3),
        layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")])
    yield "convolution", image, [floats(rows, 12, 16, 3) for rows in (1, 3)]
    series = keras.Sequential([
        keras.Input((8, 3)), layers.Bidirectional(layers.LSTM(6, return_sequences=True)), layers.GRU(5), layers.Dense(1)])
    yield "recurrent", series, [floats(rows, 8, 3) for rows in (1, 4)]
    given = keras.Input((8, 12))
    found = layers.BatchNormalization()(given + layers.MultiHeadAttention(2, 6)(given, given))
    yield ("attention", keras.Model(given, layers.Dense(3)(layers.GlobalMaxPooling1D()(found))),
           [floats(rows, 8, 12) for rows in (1, 4)])


def finish(path, requests):
    model = onnx.load(path)
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces of the exporter, with paths of its machine
        node.doc_string = ""
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        del value.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
    onnx.helper.set_model_props(model, {"requests": json.dumps(requests)})
    onnx.save(model, path)
    print(f"{path.name}: {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no counterpart in ONNX
    torch.manual_seed(7)
    keras.utils.set_random_seed(7)
    for dynamo in (False, True):
        exporter = "dynamo" if dynamo else "torchscript"
        for name, module, inputs, free, outputs, requests in [*torch_nets(), *transformer_nets()]:
            if name in (TORCHSCRIPT_ONLY if dynamo else DYNAMO_ONLY):
                continue
            path = folder / f"{exporter}_{name}.onnx"
            export_torch(path, module, inputs, free, outputs, requests, dynamo)
            finish(path, requests)
    for name, model, shapes in keras_nets():
        path = folder / f"keras_{name}.onnx"
        model(np.zeros(shapes[0]["shape"], np.float32))
        model.export(path, format="onnx", verbose=False)
        given = onnx.load(path).graph.input[0].name
        finish(path, [{given: shape} for shape in shapes])


if __name__ == "__main__":
    main()
