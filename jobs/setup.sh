#!/usr/bin/env bash
# Makes .venv at the top of the checkout, installs the named locks into it and then the project, editable.
#
#     bash jobs/setup.sh            # cpu: real vLLM on a CPU
#     bash jobs/setup.sh cpu dev    # and what tests, types and lint need
#     bash jobs/setup.sh base       # endpoints only, without vLLM
#     bash jobs/setup.sh base cluster   # and what a node of a Ray cluster needs: dashboard, job server, metrics
#
# A name NAME stands for requirements/NAME.lock; cpu is taken where neither base nor cpu is named.
# PYTHON=/path/to/python chooses the interpreter. Safe to repeat, to interrupt and to start from anywhere.
set -euo pipefail

top="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$top/.venv"
python="$venv/bin/python"
log="$venv/setup.log"
torch_index="https://download.pytorch.org/whl/cpu"

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$@" >&2; exit 1; }

# ---- what is asked for -----------------------------------------------------------------------------------------------

locks=" $* "
for name in "$@"; do
    [ -f "$top/requirements/$name.lock" ] && [ "$name" != build ] || fail "no lock named '$name'; there are base, cpu, cluster and dev"
done
case "$locks" in *" base "* | *" cpu "*) ;; *) locks=" cpu$locks" ;; esac
case "$locks" in
*" cpu "*)
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Linux-aarch64 | Linux-arm64) ;;
    *) fail "vLLM for CPUs is built for Linux on x86-64 and arm64, and this is $(uname -s) on $(uname -m)." \
        "Without vLLM, judging through endpoints: bash jobs/setup.sh base" ;;
    esac ;;
esac

# ---- one at a time, where the system can (the script itself is the lock) ---------------------------------------------

if command -v flock >/dev/null && { exec 9<>"${BASH_SOURCE[0]}"; } 2>/dev/null; then
    flock -n 9 || { say "waiting for another set-up of this checkout to end"; flock 9 || true; }
fi

# ---- is it done already? A stamp holds the hash of all that its step installed from, and where ------------------------

stamp_of() { cat "$venv/.stamp-$1" 2>/dev/null || true; }
hash_of() { { printf '%s\n' "$top"; cat "$@"; } | cksum; }
lock_hash() { hash_of "$top/requirements/$1.lock"; }
project_hash() { hash_of "$top/pyproject.toml" "$top/requirements/build.lock"; }

missing=""
if "$python" -c "" 2>/dev/null; then
    for name in $locks; do
        [ "$(stamp_of "$name")" = "$(lock_hash "$name")" ] || missing="$missing $name"
    done
    [ "$(stamp_of project)" = "$(project_hash)" ] || missing="$missing project"
else
    missing="$locks project"
fi
if [ -z "$missing" ]; then
    say ".venv is up to date"
    exit 0
fi

# ---- the environment -------------------------------------------------------------------------------------------------

find_python() {
    local candidate found="" no_venv=""
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python3.12 python3.13 python3.14 python; do
        found="$(command -v "$candidate" 2>/dev/null)" || found=""
        if [ -n "$found" ] && "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            if "$found" -c 'import ensurepip, venv' >/dev/null 2>&1; then printf '%s' "$found"; return; fi
            no_venv="$found"
        fi
        [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python of 3.11 or later with venv and ensurepip"
    done
    [ -z "$no_venv" ] || fail "$no_venv has no venv; on Debian and Ubuntu: apt-get install python3-venv"
    fail "no Python of 3.11 or later found; install Python 3.11, or name one: PYTHON=/path/to/python3.11 bash jobs/setup.sh"
}

# Can .venv be built upon? Not where it was moved or copied here: its scripts then start another environment's Python.
# And not where an install was cut off: pip writes a package's RECORD last, yet takes one without it for installed.
sound() {
    local info
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 1
    "$python" -m pip --version >/dev/null 2>&1 && grep -qF "$venv/bin/python" "$venv/bin/pip" 2>/dev/null || return 1
    for info in "$venv"/lib/python3*/site-packages/*.dist-info; do [ -f "$info/RECORD" ] || return 1; done
    for info in "$venv"/lib/python3*/site-packages/~*; do [ ! -e "$info" ] || return 1; done
}

if ! sound; then
    base="$(find_python)"
    say "$("$base" --version 2>&1) makes $venv"
    "$base" -m venv --clear "$venv" || fail "could not make $venv with $base; free disk space and rights are the usual causes"
    missing="$locks project"
fi
: >"$log"

# ---- the packages ----------------------------------------------------------------------------------------------------

pip_install() {
    "$python" -m pip install --disable-pip-version-check --no-input --progress-bar off --no-deps "$@" >>"$log" 2>&1
}

# step WHAT COMMAND...: one line on the screen; the log's end and a way on where it fails.
step() {
    local what="$1" began=$SECONDS
    shift
    printf 'setup: %s ... ' "$what"
    if "$@"; then
        printf 'done in %d s\n' "$((SECONDS - began))"
        return
    fi
    printf 'failed\n'
    {
        printf 'setup: the end of %s:\n' "$log"
        tail -n 15 "$log" | sed 's/^/    /'
        printf 'setup: error: could not do: %s\n' "$what"
        printf '    Check that pip reaches a package index (python -m pip config list) and that the disk has room\n'
        printf '    (df -h %q; the cpu lock takes 4 GB), then run this again. Last resort: rm -r %q\n' "$top" "$venv"
    } >&2
    exit 1
}

# torch alone first: only its +cpu build may be missing from the package index, and only it may come from PyTorch's.
install_torch() {
    local pin
    pin="$(grep -m 1 '^torch==' "$top/requirements/cpu.lock")"
    pip_install "$pin" && return
    grep -q 'No matching distribution found for torch==' "$log" || return 1
    printf 'from %s ... ' "$torch_index"
    pip_install --extra-index-url "$torch_index" "$pin"
}

install_project() {
    pip_install -r "$top/requirements/build.lock" && pip_install --no-build-isolation --editable "$top"
}

for name in $missing; do
    rm -f "$venv/.stamp-$name"
    case "$name" in
    project)
        step "the project itself, editable" install_project
        project_hash >"$venv/.stamp-project"
        continue ;;
    cpu) step "torch for CPUs" install_torch ;;
    esac
    count="$(grep -c '^[A-Za-z]' "$top/requirements/$name.lock")"
    step "$count packages of requirements/$name.lock" pip_install -r "$top/requirements/$name.lock"
    lock_hash "$name" >"$venv/.stamp-$name"
done
say "ready: $venv/bin/coigw-judge (log: $log)"
