#!/usr/bin/env bash
# Starts a test with the Python that has NumPy, PyTorch and safetensors: $REFRAIN_PYTHON, or
# python3.
exec "${REFRAIN_PYTHON:-python3}" -B "$@"
