#!/bin/sh
# Prints the Python that .venv is made of: PYTHON, else the first one found that will do.
#
# It must run (a pyenv shim may not), be 3.11 or later, and have what a hand-built Python often lacks. On a machine without
# one, Debian's is installed where that is allowed.
set -eu
unset PYTHONHOME PYTHONPATH # meant for another Python than the one in .venv
cd "$(dirname "$0")/.."

fits() {
    "$1" -c 'import sys; assert sys.version_info >= (3, 11); import ctypes, ensurepip, sqlite3, ssl, venv' 2>/dev/null
}

# Versions that every pinned package has wheels for come first; a newer one may have to compile, so it comes last.
find_python() {
    for candidate in python3.11 python3.12 python3.13 python3.14 /usr/bin/python3 python3; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

if [ -n "${PYTHON:-}" ]; then
    if ! fits "$PYTHON"; then
        echo "PYTHON=$PYTHON will not do: it has to be Python 3.11 or later, with venv, ensurepip, sqlite3 and ssl." >&2
        exit 1
    fi
    command -v "$PYTHON"
elif ! find_python; then
    # No command stands for a package of modules, so this asks for one that is never there.
    requirements/debian.sh python3=python3-with-venv python3-venv=python3-with-venv >&2
    if ! find_python; then
        echo "No Python 3.11 or later here. Install one and name it:  make PYTHON=/path/to/python3 ..." >&2
        exit 1
    fi
fi
