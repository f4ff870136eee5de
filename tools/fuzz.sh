#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs each for a while: tools/fuzz.sh PYTHON SECONDS
# Seeds stand in tests/fuzz/corpus/<target>; what is found in a run stays in build/fuzz/corpus/<target>.
set -euo pipefail
python=$1
seconds=$2

mkdir -p build
cmake -S . -B build/fuzz -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER=clang++-16 \
  -DCARILLON_FUZZ=ON -DCARILLON_UNITY=ON -DCARILLON_WERROR=OFF -DPython_EXECUTABLE="$python" >build/fuzz.log
NINJA_STATUS="      [%f/%t %es] " cmake --build build/fuzz

passed=0
failed=0
run() { # run TARGET: libFuzzer's own words only when it found something
  local name=${1##*/carillon_fuzz_}
  local work=build/fuzz/corpus/$name
  mkdir -p "$work"
  local corpora=("$work")
  if [[ -d tests/fuzz/corpus/$name ]]; then
    corpora+=("tests/fuzz/corpus/$name")
  fi
  if "$1" -max_total_time="$seconds" -print_final_stats=1 -artifact_prefix="build/fuzz/$name-" \
    "${corpora[@]}" >"build/fuzz/$name.log" 2>&1; then
    echo "      $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$name.log") inputs, no finding"
  else
    tail -n 60 "build/fuzz/$name.log"
    echo "      $name: FAILED"
    return 1
  fi
}

# As many at a time as there are cores.
targets=()
for target in build/fuzz/carillon_fuzz_*; do
  [[ -x $target && ! -d $target ]] && targets+=("$target")
done
cores=$(nproc)
for ((first = 0; first < ${#targets[@]}; first += cores)); do
  pids=()
  for target in "${targets[@]:first:cores}"; do
    run "$target" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    if wait "$pid"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  done
done
echo "fuzz: $passed passed, $failed failed"
[[ $failed -eq 0 && $passed -gt 0 ]]
