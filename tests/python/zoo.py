"""Serves a zoo of scikit-learn, XGBoost and LightGBM models, and holds every answer against ONNX Runtime's.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-zoo.txt
    .venv/bin/python tests/python/zoo.py --millrace target/debug/millrace

Each model is fitted, exported to ONNX, put into a repository and asked over HTTP. Labels must be equal, numbers within
1e-4 relative or 1e-5 absolute. One line for each model, a count at the end, and exit code 1 if one failed.
"""

import argparse
import sys
import tempfile
import traceback
import warnings

import lightgbm
import numpy as np
import onnx
import onnxmltools
import onnxruntime
import pandas
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from sklearn import (
    calibration, cluster, compose, decomposition, discriminant_analysis, ensemble, feature_selection, gaussian_process,
    impute, linear_model, mixture, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree,
)
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from skl2onnx import to_onnx
from skl2onnx.common.data_types import (
    DictionaryType, DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType,
)

from serving import Worker, write_model

# Classifiers whose graph does not say for sure which probability is whose: it counts votes of its own.
NAMELESS = {"SVC_poly_plain", "NuSVC_plain"}

ROWS = 12

IRIS = load_iris(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
SPECIES = np.array(["setosa", "versicolor", "virginica"])


class Entry:
    """A model's graph, and the rows that it is asked with: an array, a column for each input, or a list of objects."""

    def __init__(self, name, graph, rows, classes=None):
        self.name, self.graph, self.rows, self.classes = name, graph, rows, classes

    def batches(self):
        """What ONNX Runtime is given, run by run: it takes one object at a time."""
        if isinstance(self.rows, list):
            return [{None: row} for row in self.rows]
        return [self.rows if isinstance(self.rows, dict) else {None: self.rows}]

    def inputs(self):
        if isinstance(self.rows, list):
            return self.rows
        if not isinstance(self.rows, dict):
            return self.rows.tolist()
        count = len(next(iter(self.rows.values())))
        # A column of one value is written as a bare value.
        return [{name: column[row, 0].item() if column.dtype != object else column[row, 0]
                 for name, column in self.rows.items()} for row in range(count)]


def spread(rows):
    """Rows from all over a data set, so that all classes are among them."""
    return rows[:: max(1, len(rows) // ROWS)][:ROWS]


def fitted(model, data, name, dtype=np.float32, target=None, zipmap=True):
    features, labels = data
    features = features.astype(dtype)
    labels = labels if target is None else target[labels]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(features, labels)
        options = {} if zipmap is True else {id(model): {"zipmap": zipmap}}
        kind = {np.float32: FloatTensorType, np.float64: DoubleTensorType, np.int64: Int64TensorType}[dtype]
        graph = to_onnx(model, initial_types=[("x", kind([None, features.shape[1]]))], options=options)
    classes = getattr(model, "classes_", None)
    return Entry(name, graph, spread(features), None if classes is None else [str(label) for label in classes])


def classifiers():
    return [
        linear_model.LogisticRegression(max_iter=300),
        linear_model.LogisticRegressionCV(max_iter=100, cv=3),
        linear_model.SGDClassifier(loss="log_loss", random_state=0),
        linear_model.RidgeClassifier(),
        linear_model.Perceptron(random_state=0),
        linear_model.PassiveAggressiveClassifier(random_state=0),
        svm.SVC(probability=True, random_state=0),
        svm.SVC(kernel="poly", random_state=0),
        svm.LinearSVC(random_state=0),
        svm.NuSVC(nu=0.2, random_state=0),
        tree.DecisionTreeClassifier(random_state=0),
        tree.ExtraTreeClassifier(random_state=0),
        ensemble.RandomForestClassifier(n_estimators=20, random_state=0),
        ensemble.ExtraTreesClassifier(n_estimators=20, random_state=0),
        ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
        ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=0),
        ensemble.AdaBoostClassifier(n_estimators=5, random_state=0),
        ensemble.BaggingClassifier(n_estimators=5, random_state=0),
        ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())],
                                  voting="soft", flatten_transform=False),
        ensemble.StackingClassifier([("a", tree.DecisionTreeClassifier(random_state=0))]),
        naive_bayes.GaussianNB(),
        naive_bayes.BernoulliNB(binarize=2.0),
        naive_bayes.MultinomialNB(),
        naive_bayes.ComplementNB(),
        neighbors.KNeighborsClassifier(3),
        neighbors.RadiusNeighborsClassifier(1e4),
        neural_network.MLPClassifier((8,), max_iter=50, random_state=0),
        discriminant_analysis.LinearDiscriminantAnalysis(),
        discriminant_analysis.QuadraticDiscriminantAnalysis(),
        calibration.CalibratedClassifierCV(svm.LinearSVC(random_state=0), cv=2),
    ]


def regressors():
    return [
        linear_model.LinearRegression(), linear_model.Ridge(), linear_model.Lasso(), linear_model.ElasticNet(),
        linear_model.BayesianRidge(), linear_model.HuberRegressor(max_iter=500), linear_model.Lars(),
        linear_model.TweedieRegressor(), linear_model.PoissonRegressor(), linear_model.SGDRegressor(random_state=0),
        svm.SVR(), svm.LinearSVR(random_state=0), svm.NuSVR(),
        tree.DecisionTreeRegressor(max_depth=5, random_state=0),
        ensemble.RandomForestRegressor(n_estimators=20, random_state=0),
        ensemble.ExtraTreesRegressor(n_estimators=20, random_state=0),
        ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0),
        ensemble.HistGradientBoostingRegressor(max_iter=20, random_state=0),
        ensemble.AdaBoostRegressor(n_estimators=5, random_state=0),
        ensemble.BaggingRegressor(n_estimators=5, random_state=0),
        neighbors.KNeighborsRegressor(3), neighbors.RadiusNeighborsRegressor(1e4),
        neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=0),
        gaussian_process.GaussianProcessRegressor(alpha=1.0),
    ]


def transformers():
    return [
        preprocessing.StandardScaler(), preprocessing.MinMaxScaler(), preprocessing.MaxAbsScaler(),
        preprocessing.RobustScaler(), preprocessing.Normalizer("l1"), preprocessing.Normalizer("l2"),
        preprocessing.Normalizer("max"), preprocessing.Binarizer(threshold=3.0), preprocessing.PolynomialFeatures(2),
        preprocessing.KBinsDiscretizer(3, encode="ordinal"), preprocessing.PowerTransformer(),
        decomposition.PCA(2), decomposition.TruncatedSVD(2), impute.SimpleImputer(),
        feature_selection.SelectKBest(k=2), feature_selection.VarianceThreshold(),
        cluster.KMeans(3, n_init=2, random_state=0), cluster.MiniBatchKMeans(3, n_init=2, random_state=0),
        mixture.GaussianMixture(3, random_state=0), ensemble.IsolationForest(n_estimators=10, random_state=0),
    ]


def builders():
    """(name, function that builds the entry) for the whole zoo."""
    for model in classifiers():
        kind = type(model).__name__ + (f"_{model.kernel}" if isinstance(model, svm.SVC) else "")
        yield f"{kind}_binary", lambda name, m=model: fitted(m, CANCER, name)
        yield f"{kind}_names", lambda name, m=model: fitted(m, IRIS, name, target=SPECIES)
        yield f"{kind}_plain", lambda name, m=model: fitted(m, IRIS, name, target=SPECIES, zipmap=False)
    logistic = lambda: linear_model.LogisticRegression(max_iter=300)
    for zipmap in (False, "columns"):
        yield f"zipmap_{zipmap}", lambda name, z=zipmap: fitted(logistic(), IRIS, name, zipmap=z)
    for model in regressors():
        yield type(model).__name__, lambda name, m=model: fitted(m, DIABETES, name)
    for position, model in enumerate(transformers()):
        yield f"{type(model).__name__}_{position}", lambda name, m=model: fitted(m, IRIS, name)
    for dtype in (np.float64, np.int64):
        suffix = np.dtype(dtype).name
        # A ZipMap takes no doubles.
        zipmap = dtype is not np.float64
        yield f"LogisticRegression_{suffix}", lambda name, d=dtype, z=zipmap: fitted(logistic(), IRIS, name, d, zipmap=z)
        yield f"LinearRegression_{suffix}", lambda name, d=dtype: fitted(linear_model.LinearRegression(), IRIS, name, d)
        yield f"RandomForestClassifier_{suffix}", lambda name, d=dtype: fitted(
            ensemble.RandomForestClassifier(10, random_state=0), IRIS, name, d)
    yield "OneHotEncoder_texts", lambda name: of_texts(name, preprocessing.OneHotEncoder(handle_unknown="ignore"))
    yield "OrdinalEncoder_texts", lambda name: of_texts(name, preprocessing.OrdinalEncoder())
    yield "ColumnTransformer", columns
    yield "CountVectorizer", lambda name: of_documents(name, CountVectorizer())
    yield "TfidfVectorizer", lambda name: of_documents(name, TfidfVectorizer())
    yield "CountVectorizer_bigrams", lambda name: of_documents(name, CountVectorizer(ngram_range=(1, 2)))
    yield "CountVectorizer_only_bigrams", lambda name: of_documents(name, CountVectorizer(ngram_range=(2, 2)))
    yield "CountVectorizer_characters", lambda name: of_documents(name, CountVectorizer(analyzer="char"))
    yield "CountVectorizer_binary_cased", lambda name: of_documents(
        name, CountVectorizer(binary=True, lowercase=False))
    yield "TfidfVectorizer_sublinear", lambda name: of_documents(name, TfidfVectorizer(sublinear_tf=True, norm="l1"))
    for classifier in (linear_model.LogisticRegression(), naive_bayes.MultinomialNB(), tree.DecisionTreeClassifier()):
        yield f"Tfidf_{type(classifier).__name__}", lambda name, c=classifier: of_documents(
            name, pipeline.make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), c))
    yield "DictVectorizer", lambda name: of_objects(name, DictVectorizer(sparse=False))
    yield "DictVectorizer_classifier", lambda name: of_objects(name, pipeline.make_pipeline(
        DictVectorizer(sparse=False), linear_model.LogisticRegression()))
    for kind in ("binary", "multi", "regression"):
        yield f"XGBoost_{kind}", lambda name, k=kind: xgboost_entry(name, k)
        yield f"LightGBM_{kind}", lambda name, k=kind: lightgbm_entry(name, k)


def of_texts(name, model):
    rows = np.array([["red", "small"], ["blue", "large"], ["red", "large"], ["green", "small"]], dtype=object)
    graph = to_onnx(model.fit(rows), initial_types=[("x", StringTensorType([None, 2]))])
    return Entry(name, graph, rows)


def columns(name):
    random = np.random.default_rng(0)
    frame = pandas.DataFrame({
        "age": random.uniform(18, 80, 60).astype(np.float32),
        "visits": random.integers(0, 9, 60),
        "city": random.choice(["Ghent", "Lyon", "Turin"], 60),
    })
    wanted = np.where(frame["age"] + 5 * frame["visits"] > 60, "yes", "no")
    model = pipeline.make_pipeline(
        compose.ColumnTransformer([
            ("numbers", preprocessing.StandardScaler(), ["age", "visits"]),
            ("texts", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]),
        linear_model.LogisticRegression(),
    ).fit(frame, wanted)
    types = [("age", FloatTensorType([None, 1])), ("visits", Int64TensorType([None, 1])),
             ("city", StringTensorType([None, 1]))]
    head = frame.head(ROWS)
    rows = {"age": head[["age"]].to_numpy(np.float32), "visits": head[["visits"]].to_numpy(np.int64),
            "city": head[["city"]].to_numpy(object)}
    return Entry(name, to_onnx(model, initial_types=types), rows)


def of_documents(name, model):
    documents = np.array([["the mill turns"], ["The water flows to the mill"], ["no water, no bread"]], dtype=object)
    model = model.fit(documents[:, 0], ["mill", "mill", "bread"])
    graph = to_onnx(model, initial_types=[("x", StringTensorType([None, 1]))])
    unknown = np.array([["Bread, WATER & more; the-mill turns"], ["nothing known"], [""]], dtype=object)
    return Entry(name, graph, np.concatenate([documents, unknown]))


def of_objects(name, model):
    known = [{"age": 31.0, "city=Ghent": 1.0}, {"age": 58.0, "city=Lyon": 1.0}, {"age": 44.5}, {"visits": 3.0}]
    model = model.fit(known, ["no", "yes", "no", "yes"])
    graph = to_onnx(model, initial_types=[("x", DictionaryType(StringTensorType([1]), FloatTensorType([1])))])
    unknown = [{"wind": 1.0}, {"city=Turin": 1.0, "age": 20.0}]
    return Entry(name, graph, known + unknown)


def boosted(kind):
    return {"binary": CANCER, "multi": IRIS, "regression": DIABETES}[kind]


def xgboost_entry(name, kind):
    features, labels = boosted(kind)
    family = xgboost.XGBRegressor if kind == "regression" else xgboost.XGBClassifier
    model = family(n_estimators=10).fit(features.astype(np.float32), labels)
    graph = onnxmltools.convert_xgboost(model, initial_types=[("x", ToolsFloat([None, features.shape[1]]))])
    return Entry(name, graph, spread(features.astype(np.float32)))


def lightgbm_entry(name, kind):
    features, labels = boosted(kind)
    family = lightgbm.LGBMRegressor if kind == "regression" else lightgbm.LGBMClassifier
    model = family(n_estimators=10, verbose=-1).fit(features.astype(np.float32), labels)
    graph = onnxmltools.convert_lightgbm(model, initial_types=[("x", ToolsFloat([None, features.shape[1]]))])
    return Entry(name, graph, spread(features.astype(np.float32)))


def expected(entry):
    """ONNX Runtime's outputs in their order; sequences of maps as matrices."""
    graph = type(entry.graph).FromString(entry.graph.SerializeToString())
    for node in graph.graph.node:
        # ONNX Runtime asks the machine for en_US otherwise, and few have it.
        if node.op_type == "StringNormalizer" and not any(attribute.name == "locale" for attribute in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("locale", "C.UTF-8"))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (first, *_) = session.get_inputs()
    runs = []
    for batch in entry.batches():
        feeds = {first.name if name is None else name: values for name, values in batch.items()}
        runs.append(session.run(None, feeds))
    matrix = lambda found: np.array([list(row.values()) for row in found]) if isinstance(found, list) else found
    return [np.concatenate([matrix(part) for part in parts]) for parts in zip(*runs)]


def difference(ours, theirs):
    """What is wrong with an output; None if nothing is."""
    theirs = np.asarray(theirs)
    ours = np.asarray(ours)
    if ours.size != theirs.size:
        return f"shape {ours.shape}, expected {theirs.shape}"
    ours = ours.reshape(theirs.shape)
    if theirs.dtype.kind in "OUS" or theirs.dtype.kind in "iu":
        wrong = ours.astype(str) != theirs.astype(str)
        return f"{wrong.sum()} of {wrong.size} labels differ" if wrong.any() else None
    error = np.abs(ours.astype(float) - theirs)
    wrong = error > np.maximum(1e-4 * np.abs(theirs), 1e-5)
    return f"{wrong.sum()} of {wrong.size} numbers differ, by up to {error.max():.3g}" if wrong.any() else None


def wrong_classes(answer, entry):
    """What is wrong with the names of the classes; None if nothing is."""
    if "probabilities" not in answer or entry.classes is None:
        return None
    found = answer.get("classes")
    if entry.name in NAMELESS:
        return f"it names {found}, which its graph does not say" if found else None
    return None if found == entry.classes else f"it names {found}, expected {entry.classes}"


def compare(answer, theirs):
    if "outputs" in answer:
        ours = list(answer["outputs"].values())
    elif "probabilities" in answer:
        ours = [answer["predictions"], answer["probabilities"]]
    else:
        ours = [answer["predictions"]]
    if len(ours) != len(theirs):
        return f"{len(ours)} outputs, expected {len(theirs)}"
    return next(filter(None, map(difference, ours, theirs)), None)


def judge(worker, entry, versions):
    """What is wrong with a model; None if nothing is."""
    reasons = [str(version.get("reason", version)) for version in versions if version["state"] != "ready"]
    if reasons:
        return f"does not load: {reasons[0][:300]}"
    status, answer = worker.predict(entry.name, entry.inputs())
    if status != 200:
        return str(answer)
    return wrong_classes(answer, entry) or compare(answer, expected(entry))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--millrace", required=True, help="the binary")
    arguments.add_argument("--only", default="", help="a part of the names of the models to try")
    arguments = arguments.parse_args()
    failures, entries, not_exported = [], [], []
    for name, build in builders():
        if arguments.only not in name:
            continue
        try:
            entries.append(build(name))
        except Exception as error:  # an estimator that the exporter cannot write says nothing of millrace
            not_exported.append(name)
            print(f"none {name}: not exported: {str(error).splitlines()[0][:150] if str(error) else repr(error)}", flush=True)
    with tempfile.TemporaryDirectory() as repository:
        for entry in entries:
            write_model(repository, entry.name, entry.graph)
        with Worker(arguments.millrace, repository) as worker:
            versions = {model["name"]: model["versions"] for model in worker.models()}
            for entry in entries:
                try:
                    problem = judge(worker, entry, versions[entry.name])
                except Exception as error:
                    problem = traceback.format_exception_only(error)[-1].strip()
                print(f"{'FAIL' if problem else 'ok  '} {entry.name}{': ' + problem if problem else ''}", flush=True)
                if problem:
                    failures.append(entry.name)
    print(f"{len(entries) - len(failures)} of {len(entries)} models agree with ONNX Runtime; "
          f"{len(not_exported)} could not be exported")
    sys.exit(1 if failures or not entries else 0)


if __name__ == "__main__":
    main()
