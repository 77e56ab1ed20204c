#!/bin/sh
# Whether `make demo` works with nothing on the PATH but core utilities, make, git and Python: no Java, Maven, Node,
# Docker or Redis. Clones the last commit into a new folder and runs it there. `make test` the same way: give it as $1.
#
#   tests/bare_machine.sh [TARGET]      DAR_BARE_PYTHON=python3.11 names the Python, DAR_BARE_FOLDER an empty folder
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
target=${1:-demo}
python=$(command -v "${DAR_BARE_PYTHON:-python3}")
folder=${DAR_BARE_FOLDER:-$(mktemp -d)}
mkdir -p "$folder/bin" "$folder/home"

# What coreutils, util-linux, and the other packages that every Debian has, put on the PATH. A shell's own `false` or
# `kill` is no program, so folders are looked into.
for name in sh bash env cat cp mv rm ln ls mkdir rmdir mktemp chmod chown touch test true false echo printf date sleep \
    head tail sort uniq tr cut wc tee dirname basename readlink realpath pwd id uname nproc stat install expr seq \
    awk sed grep find xargs tar gzip diff kill which mount umount setpriv make git; do
  for place in /usr/local/bin /usr/bin /bin /usr/sbin /sbin; do
    [ ! -x "$place/$name" ] || ln -sf "$place/$name" "$folder/bin/$name"
  done
done
# By its own path, not by a version manager's shim, which would look for others.
ln -sf "$("$python" -c 'import sys; print(sys.executable)')" "$folder/bin/python3"

for name in java mvn node npm docker podman redis-server nginx; do
  if PATH=$folder/bin command -v "$name" >/dev/null 2>&1; then
    echo "$name is on the bare PATH." >&2
    exit 1
  fi
done

git clone --quiet "$root" "$folder/clone"
cd "$folder/clone"
# Settings of a registry or a proxy are the machine's, not the project's: they are kept; everything else goes.
kept=$(env | grep -E '^((HTTPS?|NO)_PROXY|(https?|no)_proxy|(PIP|UV)_[A-Z_]+|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)=' | tr '\n' ' ' || true)
# shellcheck disable=SC2086  # one word each
env -i $kept PATH="$folder/bin" HOME="$folder/home" LANG=C.UTF-8 CI=true make "$target"
echo "make $target works in $folder/clone with $(ls "$folder/bin" | wc -l) programs on the PATH."
