"""Ray Serve: its own proxy, and as many replicas as the first argument says; the second is the port."""
import signal
import sys

import orjson
import ray
from model import Model
from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=1000)
class Predictor:
    def __init__(self):
        self.model = Model()

    async def __call__(self, request):
        return self.model.predict(orjson.loads(await request.body())["inputs"])


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", object_store_memory=100 << 20,
             logging_level="warning")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])},
                logging_config={"enable_access_log": False})
    serve.run(Predictor.options(num_replicas=int(sys.argv[1])).bind(), route_prefix="/predict")
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
