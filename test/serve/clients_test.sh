#!/bin/sh
# The official Python clients of openai, anthropic and ollama against the real program and a tiny
# model that answers by rote:
#
#   clients_test.sh RATION FOLDER_OF_TINY_MODELS
#
# The clients are fetched once, with pip, into ${RATION_TEST_CACHE:-~/.cache/ration/test}. Where
# there is no network this ends with 77, which ctest counts as skipped.
set -eu

clients="openai==3.54.0 anthropic==2.12.0 ollama==0.6.3"
ration=$1
models=$2
here=$(dirname -- "$(readlink -f -- "$0")")
folder=${RATION_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ration/test}/clients
mark=$folder/$(echo "$clients" | tr ' ' '+')

if [ ! -f "$mark" ]; then
  mkdir -p "$folder"
  # Beside and then in place, so that a cut download is never taken for a client.
  work=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # shellcheck disable=SC2086  # several words
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
    --root-user-action ignore --target "$work/python" $clients || {
    echo "clients_test.sh: skipped: pip could not fetch $clients" >&2
    exit 77
  }
  rm -rf "$folder/python"
  mv "$work/python" "$folder/python"
  touch "$mark"
fi
PYTHONPATH=$folder/python python3 "$here/clients_test.py" "$ration" "$models"
