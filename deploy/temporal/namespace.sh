#!/bin/sh
# Makes the namespace of imageport, once Temporal answers, and waits until it can be
# used. The worker adds its search attributes itself. Run again, it changes nothing.
set -eu

# await tries a command once a second until it succeeds.
await() {
  tries=60
  until "$@" >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
      echo "Temporal at $TEMPORAL_ADDRESS does not answer to: $*" >&2
      exit 1
    fi
    sleep 1
  done
}

await temporal operator cluster health
temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION" --description imageport
# The server's parts learn of a new namespace one after the other.
await temporal operator search-attribute list --namespace "$TEMPORAL_NAMESPACE"
await temporal workflow list --limit 1 --namespace "$TEMPORAL_NAMESPACE"
