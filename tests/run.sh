#!/usr/bin/env bash
# Lint, types, then the tests in two processes; the first step that fails ends it. Other arguments go to pytest.
#
#     bash tests/run.sh                              # everything, real vLLM included
#     bash tests/run.sh --quick                      # an answer in 90 seconds: no cluster, no engine, nothing that takes long
#     bash tests/run.sh -m "not engine"              # without the half minute that vLLM takes to start
#     bash tests/run.sh -n 0 tests/decide            # in one process; paths count from the top of the checkout
#
# WORKERS says how many processes run tests, 2 by default: tests that wait (for a cluster, an engine, a server) leave
# their core to the others.
set -euo pipefail

top="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "$top"
python=".venv/bin/python"
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 RAY_USAGE_STATS_ENABLED=0 # no test needs the network

bash jobs/setup.sh cpu cluster dev
"$python" -m ruff check .
"$python" -m ruff format --check --quiet .
"$python" -m mypy
if [ "${CI:-}" = true ]; then set -- --durations=15 "$@"; fi
exec "$python" -m pytest -n "${WORKERS:-2}" "$@"
