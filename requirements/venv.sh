#!/bin/sh
# Makes or refreshes .venv: venv.sh run|dev installs what a lock file names, then this checkout itself, and leaves the
# stamp .venv/run or .venv/dev. venv.sh sound only says whether the .venv that is there can be used.
set -eu
unset PYTHONHOME PYTHONPATH # meant for another Python than the one in .venv
cd "$(dirname "$0")/.."
here=$(pwd -P)

identity() {
    "$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null
}

# A .venv that was copied or moved points back to where it came from; one whose Python was upgraded away does not start.
sound() {
    grep -qsF "$here/.venv" .venv/pyvenv.cfg && .venv/bin/python -c 'import pip' 2>/dev/null || return 1
    [ -z "${PYTHON:-}" ] || [ "$(identity "$PYTHON")" = "$(identity .venv/bin/python)" ]
}

install() {
    .venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check "$@"
}

case $1 in
sound)
    sound
    exit
    ;;
run) locks='-r requirements/run.txt -r requirements/build.txt' ;;
dev) locks='-r requirements/dev.txt' ;;
*)
    echo "usage: $0 run|dev|sound" >&2
    exit 2
    ;;
esac

# One at a time, however many makes are running.
exec 9<requirements/venv.sh
flock 9

if ! sound; then
    python=$(requirements/python.sh)
    echo "Making .venv with $("$python" -V)" >&2
    "$python" -m venv --clear "$here/.venv"
fi
echo "Installing the Python packages of requirements/$1.txt" >&2
# shellcheck disable=SC2086
install --require-hashes $locks
install --no-deps --no-build-isolation --editable .
touch .venv/run # dev contains what run needs
[ "$1" = run ] || touch .venv/dev
