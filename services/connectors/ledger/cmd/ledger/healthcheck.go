package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// healthcheck asks the ledger of this container, for its orchestrator: images have no shell.
func healthcheck(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(or(os.Getenv("LEDGER_ADDR"), ":7070"))
	if err == nil {
		err = ask(ctx, "127.0.0.1:"+port)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "ledger: %v\n", err)
		return 1
	}
	return 0
}

func ask(ctx context.Context, addr string) error {
	creds := insecure.NewCredentials()
	if os.Getenv("LEDGER_TLS_CERT") != "" { // its name is not 127.0.0.1, and it is this very container's
		creds = credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}
