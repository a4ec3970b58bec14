#!/usr/bin/env bash
# The tools that bench/peers/ compares with, in a folder of their own on top of .venv: Daft would move pyarrow, which our
# locks name, to below 26. Run jobs/setup.sh cpu dev before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

ours=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
.venv/bin/python -m venv .venv-peers
theirs=$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "import site; site.addsitedir('$ours')" > "$theirs/below.pth"
# aiofiles: without it datatrove writes nothing, and ends well
.venv-peers/bin/python -m pip install --quiet datatrove==0.10.1 aiofiles==25.1.0 distilabel==1.5.3 daft==0.7.26 py-data-juicer==1.6.1
