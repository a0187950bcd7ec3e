#!/bin/sh
# Install the Debian packages given, where they are missing.
#
# usage: prepare.sh PACKAGE…
#
# Only root can; anybody else is told what is missing, and goes on: what needs it is skipped.
set -eu

missing=
for package in "$@"; do
    if ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>&1 | grep -qx installed; then
        missing="$missing $package"
    fi
done

if [ "$(id -u)" -ne 0 ]; then
    [ -z "$missing" ] || echo "not installed, and only root could:$missing" >&2
    exit 0
fi

# Everything a plain user runs writes here; some virtual machines come up without that.
[ "$(stat -c %a /dev/null)" = 666 ] || chmod 0666 /dev/null
# So does everything that makes them a network; udev gives it this mode where it runs.
[ -e /dev/net/tun ] || { mkdir -p /dev/net && mknod /dev/net/tun c 10 200; }
[ "$(stat -c %a /dev/net/tun)" = 666 ] || chmod 0666 /dev/net/tun

[ -n "$missing" ] || exit 0
echo "== installing:$missing"

# A daemon is nothing to start for having been installed: its test starts its own.
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086  # a list of words
if ! { apt-get -q update && apt-get -q install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "prepare.sh: cannot install$missing (all of it: $log)" >&2
    exit 1
fi
rm -f "$log"
