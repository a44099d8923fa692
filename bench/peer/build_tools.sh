#!/bin/sh
# Builds llama_logits against an existing llama.cpp build.
#
#   bench/peer/build_tools.sh LLAMA_SOURCE LLAMA_LIBRARIES [OUT]
#
# LLAMA_SOURCE     llama.cpp's source tree (include/llama.h and ggml/include are read)
# LLAMA_LIBRARIES  the folder with libllama.so, libggml.so and libggml-base.so
# OUT              the folder the program goes to (default: LLAMA_LIBRARIES)
set -eu

if [ $# -lt 2 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
source_tree=$1
libraries=$(cd "$2" && pwd)
out=${3:-$libraries}
here=$(cd "$(dirname "$0")" && pwd)
compiler=${CXX:-clang++-19}

for file in "$source_tree/include/llama.h" "$source_tree/ggml/include/ggml.h" \
            "$libraries/libllama.so"; do
  if [ ! -e "$file" ]; then
    echo "build_tools.sh: $file is not there" >&2
    exit 1
  fi
done
mkdir -p "$out"
"$compiler" -std=c++20 -O2 -Wall -Wextra -Werror \
  -isystem "$source_tree/include" -isystem "$source_tree/ggml/include" \
  "$here/llama_logits.cpp" -o "$out/llama_logits" \
  -L "$libraries" -lllama -lggml -lggml-base -Wl,-rpath,"$libraries"
echo "$out/llama_logits"
