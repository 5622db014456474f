# Every recipe is also a plain command that works without just.

# All tests
test:
    cargo test

# What CI refuses a change for
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Make the committed models again, with fixed versions and seeds
models:
    models/make.sh

# Write the README's table of models anew, with scikit-learn's figures beside ours; `just models-report --torch` also PyTorch's
models-report *options:
    cargo build --release --locked
    python3 -m venv .venv
    .venv/bin/pip install --quiet -r tests/python/requirements-zoo.txt -r tests/python/requirements-texts.txt -r tests/python/requirements-torch.txt
    .venv/bin/python tests/python/models_report.py {{ options }}

# Make the data files again from the scikit-learn package
data:
    python3 -m venv .venv
    .venv/bin/pip install --quiet -r tests/python/requirements.txt palmerpenguins==0.1.6
    .venv/bin/python data/make.py
    cd data && sha256sum --check SHA256SUMS

# Run ONNX Runtime as the second engine, with the library inside the wheel of onnxruntime
check-onnxruntime:
    cargo build --release --locked
    python3 -m venv .venv
    .venv/bin/pip install --quiet -r tests/python/requirements.txt
    .venv/bin/python tests/python/check_onnxruntime.py --millrace target/release/millrace

# Write docs/conformance.md anew
conformance:
    cargo build --release --locked
    python3 -m venv .venv
    .venv/bin/pip install --quiet -r tests/python/requirements-conformance.txt
    .venv/bin/python tests/python/conformance.py --millrace target/release/millrace

# Compare training with scikit-learn and ONNX Runtime; `just check-training --url http://127.0.0.1:8080` asks a server too
check-training *options:
    cargo build --release --locked
    python3 -m venv .venv
    .venv/bin/pip install --quiet -r tests/python/requirements.txt
    .venv/bin/python tests/python/check_training.py {{ options }}

# Measure beside other servers and proxies, and write the section of docs/benchmarks.md anew: an hour; `just compare --quick --no-write` five minutes
compare *options:
    cargo build --release --locked
    bench/compare/run {{ options }}
