#!/bin/sh
# The official openai client against the real program and the default model:
#
#   openai_client_test.sh RATION [MODEL]
#
# The client is fetched once, with pip, into ${RATION_TEST_CACHE:-~/.cache/ration/test}; the model
# is smollm2-135m.gguf in RATION_TEST_MODELS, or is pulled by the program itself. Where there is no
# network this ends with 77, which ctest counts as skipped.
set -eu

client=openai==3.54.0
ration=$1
model=${2:-smollm2-135m}
here=$(dirname -- "$(readlink -f -- "$0")")
folder=${RATION_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ration/test}/openai-client

skip() {
  echo "openai_client_test.sh: skipped: $*" >&2
  exit 77
}

if [ ! -f "$folder/$client" ]; then
  mkdir -p "$folder"
  # Beside and then in place, so that a cut download is never taken for a client.
  work=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
    --root-user-action ignore --target "$work/python" "$client" ||
    skip "pip could not fetch $client"
  rm -rf "$folder/python"
  mv "$work/python" "$folder/python"
  touch "$folder/$client"
fi
if [ -n "${RATION_TEST_MODELS:-}" ] && [ -f "$RATION_TEST_MODELS/$model.gguf" ]; then
  model=$RATION_TEST_MODELS/$model.gguf
fi
case $model in
  */*) ;;
  *) "$ration" pull "$model" || skip "the model $model could not be pulled" ;;
esac
PYTHONPATH=$folder/python python3 "$here/openai_client_test.py" "$ration" "$model"
