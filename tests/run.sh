#!/usr/bin/env bash
# Lint, types, then the tests; the first that fails ends it. Arguments go to pytest.
#
#     bash tests/run.sh                       # everything, real vLLM included
#     bash tests/run.sh -m "not engine"       # without the half minute that vLLM takes to start
#     bash tests/run.sh tests/decide/test_gate.py    # paths count from the top of the checkout
set -euo pipefail

top="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "$top"
python=".venv/bin/python"
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 RAY_USAGE_STATS_ENABLED=0 # no test needs the network

bash jobs/setup.sh cpu cluster dev
"$python" -m ruff check .
"$python" -m mypy
if [ "${CI:-}" = true ]; then set -- --durations=15 "$@"; fi
exec "$python" -m pytest "$@"
