"""A runtime of MLServer for the ONNX file, in the process of the server (`parallel_workers` 0 in its settings)."""
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from model import Model


class Onnx(MLModel):
    async def load(self):
        self.model = Model()
        return True

    async def predict(self, payload):
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        output = NumpyCodec.encode_output("probabilities", self.model.run(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
