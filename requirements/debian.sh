#!/bin/sh
# Sees to Debian packages: debian.sh PACKAGE=COMMAND ...
#
# Installs each package whose command is missing, as root or through a sudo that asks nothing. Where it may not, it says in
# one line what to install and exits 1: whoever called decides whether to go on without.
set -eu

PATH=$PATH:/usr/sbin:/sbin # where Debian keeps servers, and a user's PATH does not look
missing=
for wish; do
    command -v "${wish#*=}" >/dev/null || missing="$missing ${wish%%=*}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    as_root=no
fi
if [ "$as_root" = no ] || ! command -v apt-get >/dev/null; then
    echo "Please install (nothing here may do it for you):  sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "Installing from Debian:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_get="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300"
# A failed update may be somebody else's repository, and the lists mostly still do. Word splitting is meant: a prefix that
# may be empty, a list of names.
# shellcheck disable=SC2086
if ! { $apt_get update || :; $apt_get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "That did not work (above). Please install:  sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
