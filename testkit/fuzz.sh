#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, such as 3s.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  package=$(dirname "$file")
  grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | cut -d' ' -f2 | while read -r target; do
    echo "fuzz $package $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$package" >/tmp/imageport-fuzz.$$ 2>&1 </dev/null || { cat /tmp/imageport-fuzz.$$; rm -f /tmp/imageport-fuzz.$$; exit 1; }
    rm -f /tmp/imageport-fuzz.$$
  done
done
