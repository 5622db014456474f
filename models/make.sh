#!/bin/sh
# Makes the committed models again, from data/, with fixed versions and seeds.
# Usage: models/make.sh [millrace binary]; without one it is built first.
set -eu
cd "$(dirname "$0")/.."

if [ $# -eq 0 ]; then
    cargo build --release --locked
    set -- "${CARGO_TARGET_DIR:-target}/release/millrace"
fi

"$1" train linear-regression --data data/diabetes.csv --target progression \
    --model diabetes --as-version 1 --force --seed 42 \
    --description "Disease progression one year after baseline, from ten measurements (Efron et al. 2004)"

"$1" train logistic-regression --data data/iris.csv --target species \
    --model iris --as-version 1 --force --seed 42 \
    --description "Iris species from four lengths in cm (Fisher 1936)"

"$1" train neural-network --data data/digits.csv --target digit --hidden 128,64 \
    --model digits --as-version 1 --force --seed 42 \
    --description "Handwritten digits on 8 x 8 pixels of 0 to 16 (Alpaydin and Kaynak 1998)"
