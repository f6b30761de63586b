#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, such as 3s.
set -euo pipefail
cd "$(dirname "$0")/.."
said=$(mktemp)
trap 'rm -f "$said"' EXIT

# Before Go 1.27 the end of the time may be taken for a failure (golang/go#75804):
# a deadline and no failing input. Then the target runs again.
deadline_only() {
  grep -qx '    context deadline exceeded' "$said" && ! grep -q 'Failing input written to\|panic:\|--- FAIL: .*/' "$said"
}

fuzz() {
  local package=$1 target=$2 time=$3
  for _ in 1 2 3; do
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" >"$said" 2>&1 </dev/null && return
    deadline_only || break
    echo "  again: the time was up in the wrong moment"
  done
  cat "$said"
  return 1
}

grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | cut -d' ' -f2 | while read -r target; do
    echo "fuzz $(dirname "$file") $target"
    fuzz "$(dirname "$file")" "$target" "$1"
  done
done
