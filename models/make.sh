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

"$1" train linear-regression --data data/diabetes.csv --target progression --lasso 1000 \
    --model diabetes-lasso --as-version 1 --force --seed 42 \
    --description "Disease progression one year after baseline, from ten measurements (Efron et al. 2004)"

"$1" train svm --task regression --data data/diabetes.csv --target progression --c 30 --epsilon 30 --gamma 0.03 \
    --model diabetes-svr --as-version 1 --force --seed 42 \
    --description "Disease progression one year after baseline, from ten measurements (Efron et al. 2004)"

"$1" train svm --data data/breast_cancer.csv --target diagnosis \
    --model breast-cancer --as-version 1 --force --seed 42 \
    --description "Breast masses, benign or malignant, from 30 measurements of cell nuclei (Wolberg et al. 1993)"

"$1" train logistic-regression --data data/breast_cancer.csv --target diagnosis --l2 3 \
    --model breast-cancer-logistic --as-version 1 --force --seed 42 \
    --description "Breast masses, benign or malignant, from 30 measurements of cell nuclei (Wolberg et al. 1993)"

"$1" train logistic-regression --data data/penguins.csv --target species --categorical island,sex --ignore year \
    --missing median --unknown-category zero \
    --model penguins --as-version 1 --force --seed 42 \
    --description "Species of penguins, from records with categories and gaps (Horst, Hill and Gorman 2020)"

"$1" train convolutional-network --data data/digits.csv --target digit --shape 8x8 --shift 1 --pixel-max 16 --epochs 60 \
    --model digits-convolution --as-version 1 --force --seed 42 \
    --description "Handwritten digits on 8 x 8 pixels of 0 to 16 (Alpaydin and Kaynak 1998)"

"$1" train recurrent-network --data data/sunspots.csv --target sunspots --cell gru --window 48 --horizon 24 --season 132 \
    --units 24 --batch-size 64 --learning-rate 0.002 --patience 12 \
    --model sunspots --as-version 1 --force --seed 42 \
    --description "The mean number of sunspots of the next 24 months, from that of the last 48 (1749 to 1983)"

"$1" train text-classifier --data data/definitions.csv --target part_of_speech --batch-size 64 --max-length 24 \
    --vocabulary 3000 --width 96 --layers 2 --dropout 0.4 --token-dropout 0.2 --weight-decay 0.05 --epochs 4 \
    --model definitions --as-version 1 --force --seed 42 \
    --description "Parts of speech, from what the word means (WordNet 3.1, Princeton University)"

# The 70,000 digits of MNIST are not kept here: data/make_mnist.py fetches them.
if [ -e data/mnist.parquet ]; then
    "$1" train convolutional-network --data data/mnist.parquet --target digit --shape 28x28 --pixel-max 255 \
        --channels 8,16 --batch-size 128 --learning-rate 0.002 --epochs 8 \
        --model mnist --as-version 1 --force --seed 42 \
        --description "Handwritten digits on 28 x 28 pixels of 0 to 255 (LeCun, Cortes and Burges 1998)"
fi
