"""BentoML: one worker process, without an access log."""
import bentoml
from model import Model


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Predictor:
    def __init__(self):
        self.model = Model()

    @bentoml.api
    async def predict(self, inputs: list[list[float]]) -> dict:
        return self.model.predict(inputs)
