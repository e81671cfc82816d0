// Package compose has the tests that need Docker: the pipeline with a NATS server in a container, with the configuration of
// docker-compose.yml. `make test-docker` runs them.
package compose
