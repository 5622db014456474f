"""mosec: its Rust front, and one worker process that runs batches of up to 32 requests, with orjson."""
import os

import numpy
import orjson
from model import Model
from mosec import Server, Worker


class Predictor(Worker):
    def __init__(self):
        self.model = Model()

    def deserialize(self, data):
        return numpy.asarray(orjson.loads(data)["inputs"], dtype=numpy.float32)

    def serialize(self, data):
        return orjson.dumps(data)

    def forward(self, data):
        if not isinstance(data, list):
            return self.model.answer(self.model.run(data))
        probabilities = self.model.run(numpy.concatenate(data))
        ends = numpy.cumsum([len(rows) for rows in data])[:-1]
        return [self.model.answer(part) for part in numpy.split(probabilities, ends)]


if __name__ == "__main__":
    server = Server()
    batch = int(os.environ.get("MOSEC_BATCH", 32))
    wait = int(os.environ.get("MOSEC_WAIT", 1))
    server.append_worker(Predictor, num=1, max_batch_size=batch, max_wait_time=wait)
    server.run()
