#!/usr/bin/env bash
# Every comparison on a CPU, one after the other; each adds a line to benchmarks/results/cpu.jsonl.
#
#     benchmarks/cpu.sh [FILE.jsonl]
#
# Needs the extra "bench" (pip install --constraint constraints.txt --editable '.[bench]'), g++ for torch.compile,
# and a machine with nothing else to do. ROUNDS=9 for more rounds, SWINIR=... for another installation.
set -euo pipefail
cd "$(dirname "$0")/.."

results="$(realpath "${1:-benchmarks/results/cpu.jsonl}")"
swinir="${SWINIR:-.venv/bin/swinir}"
python="${PYTHON:-.venv/bin/python}"
rounds="${ROUNDS:-5}"

bench() {
    echo "== swinir bench $*"
    # The document goes to the file; here it would hide the table.
    "$swinir" bench --rounds "$rounds" --output "$results" "$@" | sed '$d'
}

bench --model lightweight-x4 --size 256x256 --against reference,original,compile,onnxruntime,openvino
bench --model lightweight-x2 --size 512x512 --against reference,original,onnxruntime,openvino
bench --model classical-x4 --size 128x128 --against reference,original,compile,onnxruntime,openvino,rcan
bench --model lightweight-x4 --size 256x256 --precision fp32 --against reference,original,openvino
echo "== end to end"
"$python" benchmarks/end_to_end.py --rounds "$rounds" --output "$results" | sed '$d'
