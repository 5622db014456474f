"""The model that every Python server runs: one ONNX file on ONNX Runtime with one thread, as the environment names it."""
import json
import os

import numpy
import onnxruntime


class Model:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["COMPARE_MODEL"], options, ["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.classes = json.loads(os.environ["COMPARE_CLASSES"])

    def run(self, rows):
        """The probabilities of each row of an array."""
        return self.session.run(["probabilities"], {self.input: rows})[0]

    def answer(self, probabilities):
        """What millrace says of the same rows."""
        predictions = [self.classes[best] for best in probabilities.argmax(axis=1)]
        return {"predictions": predictions, "probabilities": probabilities.tolist(), "classes": self.classes}

    def predict(self, inputs):
        return self.answer(self.run(numpy.asarray(inputs, dtype=numpy.float32)))
