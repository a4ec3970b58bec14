#!/usr/bin/env bash
# The main job on examples/, with the real engine and a judge built on the spot: no GPU, no account, no model hub.
#
#     bash jobs/demo.sh             # arguments go to `coigw-judge run`, for instance --limit 5
#
# The embedded judge has random weights: its scores are meaningless, everything else is real.
set -euo pipefail

top="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
judge="$top/.venv/bin/coigw-judge"
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 RAY_USAGE_STATS_ENABLED=0 # nothing of this needs the network

bash "$top/jobs/setup.sh" cpu
"$judge" embedded
exec "$judge" run "$top/jobs/demo.yaml" "$@"
