#!/bin/sh
# Makes Temporal's databases, and brings their schema to that of this release of
# Temporal. Run again, it changes nothing.
set -eu
SQL_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
export SQL_PASSWORD

# prepare makes the database $1 with the schema $2.
prepare() {
  set -- "$2" --plugin postgres12_pgx --endpoint "$POSTGRES_SEEDS" --port "$DB_PORT" --user "$POSTGRES_USER" --database "$1"
  schema=$1
  shift
  # Nothing happens to a database, and to tables, that are there.
  temporal-sql-tool "$@" create
  temporal-sql-tool "$@" setup-schema --version 0.0
  temporal-sql-tool "$@" update-schema --schema-name "postgresql/v12/$schema"
}

prepare temporal temporal
prepare temporal_visibility visibility
