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
# Word splitting is meant: a list of package names, and a prefix that may be empty.
# shellcheck disable=SC2086
{
    apt_get="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
    $apt_get update >/dev/null || true # old lists often still do; if not, the next line says so
    if ! $apt_get install -y --no-install-recommends $missing >/dev/null; then
        echo "That did not work. Please install:  sudo apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
}
