#!/bin/sh
# Run the tests that a plain user can pass as a plain user, called by root.
#
# usage: as_plain_user.sh [--one-id] [PYTEST-ARGUMENT…]
#
# The user `lamina-test` is made where it is missing, with a range of subordinate ids, and
# `lamina-test-one` without: that one runs what is marked `single_id`, or, with --one-id, all that
# is asked for. They get a copy of this tree and an environment under /var/tmp, both removed
# afterwards.
set -eu

user=lamina-test
one=lamina-test-one
if [ "${1:-}" = --one-id ]; then
    shift
    user=$one
    [ $# -gt 0 ] || set -- -m 'single_id and not root' tests
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "${0##*/}: only root can become $user" >&2
    exit 1
fi
cd "$(dirname "$0")/.."

for name in "$user" "$one"; do
    id "$name" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$name"
done
for kind in uid gid; do
    # useradd may have given it ids.
    ! grep -q "^$one:" "/etc/sub$kind" || sed -i "/^$one:/d" "/etc/sub$kind"
    [ "$user" != "$one" ] || continue
    if ! grep -q "^$user:" "/etc/sub$kind"; then
        first=$(awk -F: -v first=100000 '$2 + $3 > first { first = $2 + $3 } END { print first }' "/etc/sub$kind")
        usermod "--add-sub${kind}s" "$first-$((first + 65535))" "$user"
    fi
done

# The interpreter that root's tests use may lie where no other user can reach it.
python=
for candidate in "${PYTHON:-python3}" /usr/bin/python3; do
    if runuser -u "$user" -- "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "${0##*/}: $user can run no Python of 3.11 or later" >&2
    exit 1
fi

folder=$(mktemp -d "/var/tmp/$user-XXXXXX")
trap 'rm -rf --one-file-system "$folder"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$folder"
mkdir "$folder/tree" "$folder/cache"
tar -cf - --exclude=./.git --exclude=./.venv --exclude=./.demo --exclude='./*.egg-info' \
    --exclude=__pycache__ --exclude='./.*_cache' . | tar -C "$folder/tree" -xf -
# Base images are not made a second time.
cache=${LAMINA_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lamina-tests}
cp "$cache"/*.tar "$folder/cache/" 2>/dev/null || true
chown -R "$user:" "$folder"

as_user() {
    runuser -u "$user" -- env -C "$folder/tree" -u XDG_CACHE_HOME -u XDG_CONFIG_HOME \
        -u XDG_DATA_HOME -u XDG_RUNTIME_DIR -u VIRTUAL_ENV -u PYTHONPATH -u PYTHONDONTWRITEBYTECODE \
        HOME="$(getent passwd "$user" | cut -d: -f6)" LAMINA_TEST_CACHE="$folder/cache" "$@"
}
as_user "$python" -m venv "$folder/venv"
as_user "$folder/venv/bin/pip" install -qq --upgrade pip
as_user "$folder/venv/bin/pip" install -qq --editable '.[test]'
pytest="$folder/venv/bin/python -m pytest -p no:cacheprovider -n auto --dist loadgroup"
status=0
if [ $# -gt 0 ]; then
    # shellcheck disable=SC2086  # a list of words
    as_user $pytest --basetemp="$folder/pytest" "$@" || status=1
else
    echo "== as $user, with $(as_user "$folder/venv/bin/python" --version)"
    # shellcheck disable=SC2086
    as_user $pytest --basetemp="$folder/pytest" -m 'namespaces and not root and not any_user' tests || status=1
    echo "== as $user, root of a user namespace: what there holds and changes files"
    # shellcheck disable=SC2086
    as_user unshare --user --map-root-user --map-auto $pytest --basetemp="$folder/inside" \
        -m 'not namespaces and not root and not any_user' tests/runtime || status=1
    user=$one
    chown -R "$user:" "$folder/cache"
    mkdir "$folder/one"
    chown "$user:" "$folder/one"
    echo "== as $user, who has one id"
    # shellcheck disable=SC2086
    as_user $pytest --basetemp="$folder/one/pytest" -m 'single_id and not root' tests || status=1
fi
exit $status
