"""FastAPI on uvicorn with uvloop and httptools: one process, checked bodies, answers written by orjson."""
import orjson
from fastapi import FastAPI, Response
from model import Model
from pydantic import BaseModel

app = FastAPI()
model = Model()


class Prediction(BaseModel):
    inputs: list[list[float]]


@app.post("/predict")
async def predict(prediction: Prediction):
    return Response(orjson.dumps(model.predict(prediction.inputs)), media_type="application/json")
