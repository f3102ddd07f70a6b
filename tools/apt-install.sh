#!/bin/sh
# Install Debian packages where that can be done without asking; otherwise say what is missing and go on.
#   apt-install.sh "What goes without them." PACKAGE…
without=$1
shift

missing=
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    echo "Installing$missing …"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get -qq update || true
    left=
    for package in $missing; do
        $as_root apt-get -qq install -y --no-install-recommends "$package" >/dev/null || left="$left $package"
    done
    missing=$left
fi
[ -z "$missing" ] || echo "Not installed:$missing. $without To add them: sudo apt-get install$missing"
exit 0
