"""Holds millrace against ONNX Runtime on random graphs of one ai.onnx.ml operator each: forests, linear models, SVMs,
and what prepares data for them.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements.txt
    .venv/bin/python tests/python/random_graphs.py --millrace target/release/millrace [--seed 1] [--count 40]
    .venv/bin/python tests/python/random_graphs.py --write FOLDER [--missing]

The first form writes the models into a repository, serves it, posts the inputs to every model and compares: labels
must be equal, numbers within 1e-4 relative or 1e-5 absolute. The second form writes each graph beside its inputs and
ONNX Runtime's answers, for other harnesses. Graphs depend on the seed only. ONNX Runtime leaves memory as it finds it
where a probit meets a single score of two classes, so there are none of those.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from serving import Worker, write_model

DOMAIN = "ai.onnx.ml"
TYPES = {
    np.dtype("float32"): TensorProto.FLOAT,
    np.dtype("float64"): TensorProto.DOUBLE,
    np.dtype("int64"): TensorProto.INT64,
    np.dtype("int32"): TensorProto.INT32,
    np.dtype("object"): TensorProto.STRING,
}
NUMBERS = ["float32", "float64", "int64", "int32"]
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]
AGGREGATES = ["SUM", "AVERAGE", "MIN", "MAX"]
MEMBER = 6


@dataclass
class Case:
    """A graph, what goes into it, and what ONNX Runtime makes of that."""

    name: str
    model: onnx.ModelProto
    rows: list
    answers: dict
    classes: list | None = None


def graph(name, operator, version, rows, attributes, outputs, domain=DOMAIN, inputs=("X",), constants=()):
    """The case of one operator, or None where ONNX Runtime refuses it or its answer is not finite. Of its inputs, "X" is what
    comes in, and the others are constants."""
    attributes = {key: value for key, value in attributes.items() if value is not None}
    node = helper.make_node(operator, inputs, list(outputs), domain=domain, **attributes)
    spec = helper.make_tensor_value_info("X", TYPES[rows.dtype], [None, rows.shape[1]])
    results = [helper.make_tensor_value_info(key, *value) for key, value in outputs.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, version if domain == DOMAIN else 3)]
    whole = helper.make_graph([node], name, [spec], results, list(constants))
    model = helper.make_model(whole, opset_imports=opsets, ir_version=9)
    answers = dict(zip(outputs, session(model).run(None, {"X": rows})))
    finite = all(not np.issubdtype(a.dtype, np.floating) or np.isfinite(a).all() for a in answers.values())
    return Case(name, model, rows.tolist(), answers) if finite else None


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def matrix(random, width, dtype, missing):
    """Rows on a coarse grid, so that they often equal a threshold."""
    rows = random.integers(-4, 5, size=(int(random.choice([1, 3, 8, 21, 70])), width)) / 2
    if missing and np.issubdtype(dtype, np.floating):
        rows[random.random(rows.shape) < 0.15] = np.nan
    return np.trunc(rows).astype(dtype) if np.issubdtype(dtype, np.integer) else rows.astype(dtype)


def threshold(random):
    return float(random.integers(-4, 5) / 2)


class Forest:
    """Random trees, in the form with ids (versions 1 and 3)."""

    def __init__(self, random, width):
        modes = MODES if random.random() < 0.4 else [str(random.choice(MODES))]
        tracking = random.choice(["absent", "mixed", "all"])
        self.nodes = {key: [] for key in "treeids nodeids featureids modes values truenodeids falsenodeids".split()}
        self.missing, self.leaves = [], []
        for tree in range(int(random.choice([1, 2, 5, 9, 20]))):
            self.grow(random, tree, int(random.integers(0, 6)), width, modes, tracking)
        if tracking == "absent":
            self.missing = None

    def grow(self, random, tree, depth, width, modes, tracking):
        nodes = []  # one list a node, children as positions

        def node(level):
            position = len(nodes)
            nodes.append(None)
            if level == 0 or random.random() < 0.15:
                nodes[position] = [0, "LEAF", 0.0, 0, 0]
                return position
            feature, mode, value = int(random.integers(width)), str(random.choice(modes)), threshold(random)
            nodes[position] = [feature, mode, value, node(level - 1), node(level - 1)]
            return position

        node(depth)
        # The root stays the first; the others come in any order.
        order = [0, *(1 + random.permutation(len(nodes) - 1))]
        for position in order:
            feature, mode, value, yes, no = nodes[position]
            row = (tree, int(position), feature, mode, value, yes, no)
            for key, entry in zip(self.nodes, row):
                self.nodes[key].append(entry)
            self.missing.append(1 if tracking == "all" else int(random.integers(2)))
            if mode == "LEAF":
                self.leaves.append((tree, int(position)))

    def attributes(self, doubles):
        found = {f"nodes_{key}": value for key, value in self.nodes.items()}
        found["nodes_missing_value_tracks_true"] = self.missing
        return as_doubles(found, "nodes_values") if doubles else found

    def weights(self, random, kind, targets, positive, doubles):
        per_leaf = str(random.choice(["one", "all", "some"]))
        rows = []
        for tree, node in self.leaves:
            chosen = {
                "one": lambda: [int(random.integers(targets))],
                "all": lambda: range(targets),
                "some": lambda: random.choice(targets, size=int(random.integers(1, targets + 1)), replace=False),
            }[per_leaf]()
            low = 0.0 if positive else -1.0
            rows.extend((tree, node, int(target), float(np.float32(random.uniform(low, 1.0)))) for target in chosen)
        trees, nodes, ids, weights = zip(*rows)
        found = {f"{kind}_treeids": trees, f"{kind}_nodeids": nodes, f"{kind}_ids": ids, f"{kind}_weights": weights}
        return as_doubles(found, f"{kind}_weights") if doubles else found


def as_doubles(attributes, name):
    values = np.array(attributes.pop(name), dtype=np.float64)
    attributes[f"{name}_as_tensor"] = numpy_helper.from_array(values, name)
    return attributes


def base_values(random, counts):
    count = int(random.choice(counts))
    return [float(value) for value in random.uniform(-0.5, 0.5, count).astype(np.float32)] or None


def tree_rows(random, missing, types):
    dtype = np.dtype(str(random.choice(types)))
    rows = matrix(random, int(random.integers(1, 7)), dtype, missing)
    return rows, dtype == np.float64 and random.random() < 0.5


def tree_regressor(random, name, missing):
    rows, doubles = tree_rows(random, missing, ["float32", "float64"])
    forest = Forest(random, rows.shape[1])
    targets = int(random.integers(1, 5))
    attributes = forest.attributes(doubles) | forest.weights(random, "target", targets, False, doubles)
    attributes |= {
        "n_targets": targets,
        "aggregate_function": str(random.choice(AGGREGATES)),
        "post_transform": str(random.choice(TRANSFORMS)),
    }
    if not doubles:
        attributes["base_values"] = base_values(random, [0, targets])
    return graph(name, "TreeEnsembleRegressor", 3, rows, attributes, {"Y": (TensorProto.FLOAT, None)})


def labels(random, count):
    if random.random() < 0.5:
        return "strings", [f"class {chr(97 + position)}" for position in range(count)]
    return "ints", [int(label) for label in random.choice(100, size=count, replace=False)]


def classifier_outputs(kind):
    label = TensorProto.STRING if kind == "strings" else TensorProto.INT64
    return {"Y": (label, None), "Z": (TensorProto.FLOAT, None)}


def tree_classifier(random, name, missing):
    rows, doubles = tree_rows(random, missing, NUMBERS)
    forest = Forest(random, rows.shape[1])
    classes = int(random.integers(2, 5))
    kind, names = labels(random, classes)
    positive = random.random() < 0.5
    single = classes == 2 and random.random() < 0.6
    weights = forest.weights(random, "class", 1 if single else classes, positive, doubles)
    if single and random.random() < 0.4:
        weights["class_ids"] = [1] * len(weights["class_ids"])
    attributes = forest.attributes(doubles) | weights
    attributes |= {
        "classlabels_strings" if kind == "strings" else "classlabels_int64s": names,
        "post_transform": str(random.choice(TRANSFORMS)),
    }
    if not doubles:
        # One base value for two classes with weights each leaves a place of ONNX Runtime's answer unset.
        counts = [0, classes] if not single else [0, 1, 2]
        attributes["base_values"] = base_values(random, counts)
    return graph(name, "TreeEnsembleClassifier", 3, rows, attributes, classifier_outputs(kind))


def tree_ensemble(random, name, missing):
    """The form of version 5: nodes and leaves apart, ids are positions, sets of members."""
    dtype = np.dtype(str(random.choice(["float32", "float64"])))
    rows = matrix(random, int(random.integers(1, 7)), dtype, missing)
    targets = int(random.integers(1, 5))
    nodes, leaves, members = [], [], []

    def leaf():
        leaves.append((int(random.integers(targets)), float(random.uniform(-1, 1))))
        return 1, len(leaves) - 1

    def node(level):
        if level == 0 or random.random() < 0.15:
            return leaf()
        position = len(nodes)
        nodes.append(None)
        mode = int(random.integers(7))
        if mode == MEMBER:
            # ONNX Runtime takes whole numbers only.
            pool = random.integers(-4, 60, size=int(random.integers(1, 40)))
            members.extend([*np.unique(pool), np.nan])
        split = 0.0 if mode == MEMBER else threshold(random)
        nodes[position] = [int(random.integers(rows.shape[1])), mode, split, None, None]
        nodes[position][3:] = [node(level - 1), node(level - 1)]
        return 0, position

    roots = []
    for _ in range(int(random.choice([1, 2, 5, 9, 20]))):
        # Sets stand in the order of their nodes, which is that of their growth.
        is_leaf, position = node(int(random.integers(0, 6)))
        if is_leaf:
            nodes.append([0, 0, 0.0, (1, position), (1, position)])
            position = len(nodes) - 1
        roots.append(position)
    features, modes, splits, yes, no = zip(*nodes)
    targetids, weights = zip(*leaves)
    if members:
        # Before it looks into a large set, ONNX Runtime cuts what follows the point off; the definition does not.
        rows = np.trunc(rows)

    def tensor(values, dtype):
        return numpy_helper.from_array(np.array(values, dtype=dtype))

    attributes = {
        "n_targets": targets,
        "aggregate_function": int(random.integers(4)),
        "post_transform": int(random.integers(4)),
        "tree_roots": roots,
        "nodes_featureids": features,
        "nodes_modes": tensor(modes, np.uint8),
        "nodes_splits": tensor(splits, dtype),
        "nodes_truenodeids": [end[1] for end in yes],
        "nodes_trueleafs": [end[0] for end in yes],
        "nodes_falsenodeids": [end[1] for end in no],
        "nodes_falseleafs": [end[0] for end in no],
        "leaf_targetids": targetids,
        "leaf_weights": tensor(weights, dtype),
        "membership_values": tensor(members, dtype) if members else None,
    }
    if random.random() < 0.5:
        attributes["nodes_missing_value_tracks_true"] = [int(flag) for flag in random.integers(2, size=len(nodes))]
    return graph(name, "TreeEnsemble", 5, rows, attributes, {"Y": (TYPES[dtype], None)})


def floats(random, count):
    return [float(value) for value in random.normal(size=count).astype(np.float32)]


def dense_rows(random, types):
    dtype = np.dtype(str(random.choice(types)))
    shape = (int(random.choice([1, 3, 40])), int(random.integers(1, 30)))
    rows = random.normal(size=shape) * (3 if np.issubdtype(dtype, np.integer) else 1)
    return rows.astype(dtype)


def linear_regressor(random, name, _):
    rows = dense_rows(random, ["float32"])
    targets = int(random.integers(1, 5))
    attributes = {
        "coefficients": floats(random, targets * rows.shape[1]),
        "intercepts": floats(random, targets) if random.random() < 0.7 else None,
        "targets": targets,
        "post_transform": str(random.choice(TRANSFORMS)),
    }
    return graph(name, "LinearRegressor", 1, rows, attributes, {"Y": (TensorProto.FLOAT, None)})


def linear_classifier(random, name, _):
    rows = dense_rows(random, NUMBERS)
    classes = int(random.integers(2, 6))
    kind, names = labels(random, classes)
    scores = 1 if classes == 2 and random.random() < 0.6 else classes
    attributes = {
        "coefficients": floats(random, scores * rows.shape[1]),
        "intercepts": floats(random, scores),
        f"classlabels_{kind}": names,
        "multi_class": int(random.integers(2)),
        "post_transform": str(random.choice(TRANSFORMS)),
    }
    return graph(name, "LinearClassifier", 1, rows, attributes, classifier_outputs(kind))


def kernel(random):
    degree = float(random.choice([1.0, 2.0, 3.0, 4.0]))
    # No sum of a polynomial kernel of a fraction's power is below zero here, so that it stays a number.
    return {
        "kernel_type": str(random.choice(["LINEAR", "POLY", "RBF", "SIGMOID"])),
        "kernel_params": [float(np.float32(random.uniform(0.05, 0.5))), float(random.integers(0, 3)), degree],
    }


def svm_regressor(random, name, _):
    rows = dense_rows(random, ["float32"])
    width, supports = rows.shape[1], int(random.choice([0, 1, 7, 40]))
    attributes = kernel(random) | {
        "coefficients": floats(random, supports or width),
        "support_vectors": floats(random, supports * width) or None,
        "n_supports": supports,
        "rho": floats(random, 1),
        "one_class": int(random.random() < 0.3),
        "post_transform": str(random.choice(TRANSFORMS)),
    }
    return graph(name, "SVMRegressor", 1, rows, attributes, {"Y": (TensorProto.FLOAT, None)})


def svm_classifier(random, name, _):
    rows = dense_rows(random, NUMBERS)
    width, classes = rows.shape[1], int(random.integers(2, 6))
    kind, names = labels(random, classes)
    attributes = kernel(random) | {
        f"classlabels_{kind}": names,
        "post_transform": str(random.choice(TRANSFORMS)),
    }
    pairs = classes * (classes - 1) // 2
    if random.random() < 0.3:
        # liblinear: no support vectors, a row of coefficients for each class
        attributes |= {"coefficients": floats(random, classes * width), "rho": floats(random, 1)}
    else:
        per_class = [int(count) for count in random.integers(1, 9, size=classes)]
        total = sum(per_class)
        attributes |= {
            "vectors_per_class": per_class,
            "support_vectors": floats(random, total * width),
            "coefficients": floats(random, (classes - 1) * total),
            "rho": floats(random, pairs),
        }
        if random.random() < 0.5:
            attributes |= {"prob_a": [-abs(a) for a in floats(random, pairs)], "prob_b": floats(random, pairs)}
    return graph(name, "SVMClassifier", 1, rows, attributes, classifier_outputs(kind))


def scaler(random, name, _):
    rows = dense_rows(random, NUMBERS)
    count = rows.shape[1] if random.random() < 0.6 else 1
    attributes = {"offset": floats(random, count), "scale": floats(random, count)}
    return graph(name, "Scaler", 1, rows, attributes, {"Y": (TensorProto.FLOAT, None)})


def normalizer(random, name, _):
    rows = dense_rows(random, NUMBERS)
    if random.random() < 0.3:
        rows[0] = 0
    attributes = {"norm": str(random.choice(["MAX", "L1", "L2"]))}
    return graph(name, "Normalizer", 1, rows, attributes, {"Y": (TensorProto.FLOAT, None)})


def imputer(random, name, _):
    # What is replaced is a number: JSON has no word for one that is missing.
    rows = matrix(random, int(random.integers(1, 7)), np.dtype(str(random.choice(["float32", "int64"]))), False)
    count = rows.shape[1] if random.random() < 0.6 else 1
    if rows.dtype == np.int64:
        attributes = {"imputed_value_int64s": random.integers(50, 90, count).tolist(), "replaced_value_int64": int(rows[0, 0])}
    else:
        attributes = {"imputed_value_floats": floats(random, count), "replaced_value_float": float(rows[0, 0])}
    return graph(name, "Imputer", 1, rows, attributes, {"Y": (TYPES[rows.dtype], None)})


def binarizer(random, name, _):
    rows = matrix(random, int(random.integers(1, 7)), np.dtype("float32"), False)
    return graph(name, "Binarizer", 1, rows, {"threshold": threshold(random)}, {"Y": (TensorProto.FLOAT, None)})


WORDS = np.array(["", "a", "A", "red", "blue green", "été", "日本", "3"], dtype=object)


def one_hot_encoder(random, name, _):
    size = (int(random.choice([1, 3, 40])), int(random.integers(1, 4)))
    is_open = random.random() < 0.6
    if random.random() < 0.4:
        known = WORDS[:int(random.integers(1, len(WORDS)))]
        attributes = {"cats_strings": known.tolist()}
        rows = random.choice(WORDS if is_open else known, size=size)
    else:
        attributes = {"cats_int64s": list(range(-1, int(random.integers(0, 9))))}
        last = attributes["cats_int64s"][-1]
        dtype = str(random.choice(["int64", "float32", "float64"]))  # ONNX Runtime has no int32
        rows = random.integers(-1, last + (3 if is_open else 1), size=size).astype(dtype)
    return graph(name, "OneHotEncoder", 1, rows, attributes | {"zeros": int(is_open)}, {"Y": (TensorProto.FLOAT, None)})


def label_encoder(random, name, _):
    """Every pair of types that version 2 of the operator has, with keys that are not there."""
    pools = {
        "strings": (WORDS, TensorProto.STRING, "default_string", "none"),
        "int64s": (np.arange(-3, 9), TensorProto.INT64, "default_int64", -77),
        "floats": (np.arange(-3, 9, dtype=np.float32) / 2, TensorProto.FLOAT, "default_float", -7.5),
    }
    pairs = [("int64s", "strings"), ("strings", "int64s"), ("floats", "strings"), ("strings", "floats"), ("int64s", "floats"),
             ("floats", "int64s"), ("strings", "strings"), ("int64s", "int64s"), ("floats", "floats")]
    key, value = pairs[int(random.integers(len(pairs)))]
    keys, values = pools[key][0], pools[value][0]
    count = int(random.integers(1, len(keys)))
    attributes = {
        f"keys_{key}": random.permutation(keys)[:count].tolist(),
        f"values_{value}": random.choice(values, size=count).tolist(),
    }
    if random.random() < 0.7:
        attributes[pools[value][2]] = pools[value][3]
    rows = random.choice(keys, size=(int(random.choice([1, 3, 40])), int(random.integers(1, 4))))
    return graph(name, "LabelEncoder", 2, rows, attributes, {"Y": (pools[value][1], None)})


def category_mapper(random, name, _):
    count = int(random.integers(1, len(WORDS)))
    attributes = {"cats_strings": random.permutation(WORDS)[:count].tolist(), "cats_int64s": random.permutation(20)[:count].tolist()}
    size = (int(random.choice([1, 3, 40])), int(random.integers(1, 4)))
    if random.random() < 0.5:
        rows, to = random.choice(WORDS, size=size), TensorProto.INT64
        attributes["default_int64"] = -7
    else:
        rows, to = random.integers(0, 22, size=size), TensorProto.STRING
        attributes["default_string"] = "none"
    return graph(name, "CategoryMapper", 1, rows, attributes, {"Y": (to, None)})


def array_feature_extractor(random, name, _):
    rows = random.choice(WORDS, size=(5, 4)) if random.random() < 0.3 else dense_rows(random, NUMBERS)
    picked = random.integers(0, rows.shape[1], size=int(random.integers(1, 6)))
    constants = [numpy_helper.from_array(picked.astype(np.int64), "picked")]
    outputs = {"Y": (TYPES[rows.dtype], None)}
    return graph(name, "ArrayFeatureExtractor", 1, rows, {}, outputs, inputs=("X", "picked"), constants=constants)


def feature_vectorizer(random, name, _):
    rows = dense_rows(random, NUMBERS)
    times = int(random.integers(1, 4))
    attributes = {"inputdimensions": [rows.shape[1]] * times}
    return graph(name, "FeatureVectorizer", 1, rows, attributes, {"Y": (TensorProto.FLOAT, None)}, inputs=["X"] * times)


def tf_idf_vectorizer(random, name, _):
    """Words of one to three letters' worth of a small alphabet, so that n-grams repeat."""
    length, longest = int(random.integers(1, 9)), int(random.integers(1, 4))
    letters = WORDS[:4] if random.random() < 0.6 else np.arange(4)
    pool, counts = [], []
    for size in range(1, longest + 1):
        counts.append(len(pool))
        grams = {tuple(random.choice(letters, size=size).tolist()) for _ in range(int(random.integers(1, 5)))}
        pool += [item for gram in sorted(grams) for item in gram]
    grams = sum((end - begin) // size for size, (begin, end) in enumerate(zip(counts, counts[1:] + [len(pool)]), 1))
    attributes = {
        "mode": str(random.choice(["TF", "IDF", "TFIDF"])),
        "min_gram_length": int(random.integers(1, longest + 1)),
        "max_gram_length": longest,
        "max_skip_count": int(random.integers(0, 3)),
        "ngram_counts": counts,
        "ngram_indexes": random.permutation(grams).tolist(),
        "weights": floats(random, grams) if random.random() < 0.6 else None,
        "pool_strings": pool if letters.dtype == object else None,
        "pool_int64s": pool if letters.dtype != object else None,
    }
    rows = random.choice(letters, size=(int(random.choice([1, 3, 8])), length))
    return graph(name, "TfIdfVectorizer", 9, rows, attributes, {"Y": (TensorProto.FLOAT, None)}, domain="")


def of_maps(name, operator, key, maps, attributes, output):
    """The case of an operator that takes one map to floats at a time. (ONNX Runtime's Python cannot hand over maps to texts.)"""
    kinds = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    node = helper.make_node(operator, ["X"], ["Y"], domain=DOMAIN, **attributes)
    whole = helper.make_graph([node], name, [helper.make_value_info("X", kinds)], [helper.make_tensor_value_info("Y", output, None)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(whole, opset_imports=opsets, ir_version=9)
    runs = session(model)
    answers = {"Y": np.concatenate([np.reshape(runs.run(None, {"X": each})[0], (1, -1)) for each in maps])}
    return Case(name, model, [{str(key): value for key, value in each.items()} for each in maps], answers)


def some_maps(random, keys, share):
    """Maps with about this share of the keys, and one at least: ONNX Runtime takes no empty one."""
    maps = []
    for _ in range(int(random.choice([1, 3, 8]))):
        chosen = [key for key in keys if random.random() < share] or [keys[0]]
        maps.append({key: threshold(random) for key in chosen})
    return maps


def dict_vectorizer(random, name, _):
    is_text = random.random() < 0.5
    keys = WORDS.tolist() if is_text else list(range(-2, 6))
    vocabulary = [keys[at] for at in random.permutation(len(keys))[:int(random.integers(1, len(keys)))]]
    attributes = {"string_vocabulary" if is_text else "int64_vocabulary": vocabulary}
    key = TensorProto.STRING if is_text else TensorProto.INT64
    return of_maps(name, "DictVectorizer", key, some_maps(random, keys, 0.6), attributes, TensorProto.FLOAT)


def cast_map(random, name, _):
    to, output = [("TO_FLOAT", TensorProto.FLOAT), ("TO_INT64", TensorProto.INT64)][int(random.integers(2))]
    is_sparse = random.random() < 0.5
    attributes = {"cast_to": to, "map_form": "SPARSE", "max_map": 8} if is_sparse else {"cast_to": to, "map_form": "DENSE"}
    # The width of a dense row is the number of its keys.
    maps = some_maps(random, list(range(8)), 0.6 if is_sparse else 1)
    return of_maps(name, "CastMap", TensorProto.INT64, maps, attributes, output)


def zip_map(random, name, _):
    """A classifier whose scores go through a ZipMap: the names of the classes come back with the probabilities."""
    rows = dense_rows(random, ["float32"])
    classes = int(random.integers(2, 5))
    is_text = random.random() < 0.5
    names = [f"class {at}" for at in range(classes)] if is_text else list(range(10, 10 + classes))
    key = "strings" if is_text else "int64s"
    classifier = helper.make_node(
        "LinearClassifier", ["X"], ["label", "scores"], domain=DOMAIN, post_transform="SOFTMAX",
        coefficients=floats(random, classes * rows.shape[1]), intercepts=floats(random, classes),
        **{"classlabels_strings" if is_text else "classlabels_ints": names},
    )
    zipped = helper.make_node("ZipMap", ["scores"], ["probabilities"], domain=DOMAIN, **{f"classlabels_{key}": names})
    kind = TensorProto.STRING if is_text else TensorProto.INT64
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, [])))
    whole = helper.make_graph(
        [classifier, zipped], name, [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, rows.shape[1]])],
        [helper.make_tensor_value_info("label", kind, [None]), helper.make_value_info("probabilities", maps)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(whole, opset_imports=opsets, ir_version=9)
    label, probabilities = session(model).run(None, {"X": rows})
    matrix = np.array([[row[name] for name in names] for row in probabilities], dtype=np.float32)
    return Case(name, model, rows.tolist(), {"label": np.asarray(label), "probabilities": matrix}, [str(name) for name in names])


KINDS = [
    tree_regressor,
    tree_classifier,
    tree_ensemble,
    linear_regressor,
    linear_classifier,
    svm_regressor,
    svm_classifier,
    scaler,
    normalizer,
    imputer,
    binarizer,
    one_hot_encoder,
    label_encoder,
    category_mapper,
    array_feature_extractor,
    feature_vectorizer,
    tf_idf_vectorizer,
    dict_vectorizer,
    cast_map,
    zip_map,
]


def cases(seed, count, missing):
    """`count` cases of each kind."""
    for kind in KINDS:
        for number in range(count):
            random = np.random.default_rng([seed, KINDS.index(kind), number])
            case = kind(random, f"{kind.__name__.replace('_', '-')}-{number}", missing)
            if case:
                yield case


def plain(array):
    """For JSON, which knows no number for what is missing."""
    if np.issubdtype(array.dtype, np.floating):
        return [None if np.isnan(value) else value for value in array.ravel().tolist()]
    return array.ravel().tolist()


def write(folder, found):
    for case in found:
        place = folder / case.name
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.onnx").write_bytes(case.model.SerializeToString())
        described = [
            {"shape": array.shape, "type": str(array.dtype), "values": plain(array)}
            for array in [np.array(case.rows), *case.answers.values()]
        ]
        (place / "case.json").write_text(json.dumps({"input": described[0], "outputs": described[1:]}))


def differs(ours, theirs):
    """What is different, or None."""
    if not np.issubdtype(theirs.dtype, np.floating):
        # Labels are answered as they are, or as texts.
        same = [str(label) for label in np.ravel(ours)] == [str(label) for label in theirs.ravel()]
        return None if same else f"labels {ours}, expected {theirs.tolist()}"
    ours = np.asarray(ours, dtype=float).reshape(-1)
    theirs = theirs.astype(float).reshape(-1)
    if ours.shape != theirs.shape:
        return f"{ours.size} numbers, expected {theirs.size}"
    excess = np.abs(ours - theirs) - np.maximum(1e-4 * np.abs(theirs), 1e-5)
    return None if (excess <= 0).all() else f"off by {np.abs(ours - theirs).max():.2e}"


def answered(answer, names):
    """The outputs of an answer of the native API, by name."""
    if "outputs" in answer:
        return answer["outputs"]
    return dict(zip(names, [answer.get("predictions"), answer.get("probabilities")]))


def check(case, worker):
    status, answer = worker.predict(case.name, case.rows)
    if status != 200:
        raise RuntimeError(f"{status} {answer}")
    ours = answered(answer, case.answers)
    problems = [f"{name}: {differs(ours[name], theirs)}" for name, theirs in case.answers.items()
                if differs(ours[name], theirs)]
    if case.classes and [str(name) for name in answer["classes"]] != case.classes:
        problems.append(f"classes {answer['classes']}, expected {case.classes}")
    if problems:
        raise RuntimeError("; ".join(problems))


def serve_and_check(millrace, found):
    failed = 0
    with tempfile.TemporaryDirectory() as repository:
        for case in found:
            write_model(repository, case.name, case.model)
        with Worker(millrace, repository) as worker:
            reasons = {model["name"]: model["versions"][0].get("reason") for model in worker.models()}
            for case in found:
                try:
                    check(case, worker)
                except (RuntimeError, KeyError, TypeError, ValueError) as error:
                    failed += 1
                    print(f"FAIL {case.name}: {reasons[case.name] or error}", flush=True)
    return failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--millrace", help="the binary to check")
    arguments.add_argument("--write", type=Path, help="only write the cases into this folder")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=40, help="graphs of each kind")
    arguments.add_argument("--missing", action="store_true", help="some values are NaN, which JSON cannot carry")
    options = arguments.parse_args()
    found = list(cases(options.seed, options.count, options.missing and options.write is not None))
    if options.write:
        write(options.write, found)
        print(f"{len(found)} cases written")
    elif options.millrace:
        failed = serve_and_check(options.millrace, found)
        print(f"{len(found) - failed} of {len(found)} graphs agree")
        sys.exit(1 if failed else 0)
    else:
        arguments.error("give --millrace or --write")


if __name__ == "__main__":
    main()
