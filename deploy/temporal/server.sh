#!/bin/sh
# Starts the Temporal server with the password of its database from a file: the
# server takes it from the environment only.
set -eu
POSTGRES_PWD=$(cat "$POSTGRES_PASSWORD_FILE")
export POSTGRES_PWD
# Its parts find each other by an address, which that of all interfaces is not.
if [ -z "${TEMPORAL_BROADCAST_ADDRESS:-}" ]; then
  TEMPORAL_BROADCAST_ADDRESS=$(getent hosts "$(hostname)" | awk 'NR == 1 { print $1 }')
  export TEMPORAL_BROADCAST_ADDRESS
fi
# That it asks nobody who he is, is meant so: its port is on loopback only.
exec temporal-server --allow-no-auth start
