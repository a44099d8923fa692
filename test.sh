#!/usr/bin/env bash
# ./test.sh [--offline] [SUITE...]
#
# Sets up what is missing, builds, runs the tests, and ends with "N passed, N failed".
#
#   ci     what continuous integration runs, and what no argument means: fast and asan
#   fast   release build with warnings as errors, every test labelled fast
#   asan   base, model and the parsers under ASan and UBSan, and a bounded share of fuzzing
#   fuzz   the long fuzzing runs
#   slow   the tests labelled slow, release build
#   tsan   the fast tests under the thread sanitizer
#   all    ci, fuzz, slow and tsan
#
# --offline goes on without test files that cannot be fetched: their tests count as skipped.
# Fetched files are kept in ${RATION_TEST_CACHE:-~/.cache/ration/test}.
set -euo pipefail
root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/setup.sh
. "$root/scripts/setup.sh"

# The rooms that read what strangers wrote; the asan suite builds no others.
sanitized_rooms=(base model fuzz)

result_folders=()

# Runs the entries of one label below a folder of a build. A failure is left to the counts: every
# suite gets its turn.
run_tests() {  # run_tests PRESET SUBFOLDER LABEL
  local dir=$build_root/$1/$2 results=$build_root/$1/results/${2//\//_}_$3
  rm -rf -- "$results"
  mkdir -p -- "$results/cases"
  say "testing: $1, ${2#test/}, label $3"
  GTEST_OUTPUT=xml:$results/cases/ ctest --test-dir "$dir" -L "^$3\$" -j "$(nproc)" \
    --output-on-failure --output-junit "$results/ctest.xml" </dev/null || true
  grep -q '<testcase' "$results/ctest.xml" 2>/dev/null ||
    die $exit_build "found no test labelled $3 in $dir"
  result_folders+=("$results")
}

# Vocabularies and models that tests read, each fetched once by the script that knows where from.
fetch_test_files() {
  local script log=$build_root/fetch.log cache=${XDG_CACHE_HOME:-${HOME:-$build_root}/.cache}
  export RATION_TEST_CACHE=${RATION_TEST_CACHE:-$cache/ration/test}
  if ! mkdir -p -- "$RATION_TEST_CACHE" 2>/dev/null || [ ! -w "$RATION_TEST_CACHE" ]; then
    say "cannot write to $RATION_TEST_CACHE: test files are kept in $build_root/test-files"
    export RATION_TEST_CACHE=$build_root/test-files
    mkdir -p -- "$RATION_TEST_CACHE"
  fi
  if [ "$offline" = yes ]; then export RATION_OFFLINE_TESTS=1; fi
  for script in "$root"/test/fetch_*.sh; do
    [ -e "$script" ] || continue
    say "test files: ${script##*/}"
    "$script" >"$log" 2>&1 </dev/null && continue
    tail -n 5 -- "$log" >&2
    [ "$offline" = yes ] ||
      die $exit_network "${script##*/} could not fetch its files (log: $log)" \
        "./test.sh --offline goes on and skips their tests"
    say "${script##*/} could not fetch its files; their tests will be skipped"
  done
}

suite() {
  local room targets
  case $1 in
    fast | slow)
      build ci all
      run_tests ci test "$1"
      ;;
    asan)
      targets=("${sanitized_rooms[@]/#/test/}")
      build asan "${targets[@]/%//all}"
      for room in "${sanitized_rooms[@]}"; do
        if [ "$room" = fuzz ]; then
          run_tests asan test/fuzz fuzz
        else
          run_tests asan "test/$room" fast
        fi
      done
      ;;
    fuzz)
      build asan test/fuzz/all
      run_tests asan test/fuzz fuzz_long
      ;;
    tsan)
      build tsan all
      run_tests tsan test fast
      ;;
  esac
}

offline=no suites=()
for argument in "$@"; do
  case $argument in
    --offline) offline=yes ;;
    ci) suites+=(fast asan) ;;
    all) suites+=(fast asan fuzz slow tsan) ;;
    fast | asan | fuzz | slow | tsan) suites+=("$argument") ;;
    -h | --help)
      sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      printf "test.sh: found '%s', wanted one of: ci fast asan fuzz slow tsan all --offline\n" \
        "$argument" >&2
      exit 2
      ;;
  esac
done
[ ${#suites[@]} -gt 0 ] || suites=(fast asan)

install_packages run test
make_build_root
fetch_test_files
for name in "${suites[@]}"; do suite "$name"; done

for name in fast asan fuzz slow tsan; do
  case " ${suites[*]} " in
    *" $name "*) ;;
    *) printf 'not run here: %s (./test.sh %s)\n' "$name" "$name" ;;
  esac
done
counts=$("$root/scripts/count_tests.py" "${result_folders[@]}")
read -r passed failed skipped <<<"$counts"
say "done"
printf '%d skipped\n%d passed, %d failed\n' "$skipped" "$passed" "$failed"
[ "$failed" -eq 0 ]
