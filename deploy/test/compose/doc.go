// Package test holds the tests that need Docker: the pipeline against a NATS server in a
// container, configured as docker-compose.yml configures it. `make test-docker` runs them.
package test
