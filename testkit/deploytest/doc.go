// Package deploytest checks what people deploy imageport with: docker-compose.yml,
// the container file, the systemd units, the dashboard and the alert rules.
//
// There is no container engine where the tests run. So the compose file is read as
// Docker reads it, by compose-go, and its services are started as processes: with
// their commands, environment, files and health checks, but paths and addresses
// of this machine instead of the containers'. What an image has in it beside our
// program is not tested.
package deploytest
