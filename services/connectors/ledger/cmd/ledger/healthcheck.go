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

// healthcheck checks the health of the ledger in this container and returns the exit code. The orchestrator calls it,
// as the image has no shell.
func healthcheck(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(addr())
	if err == nil {
		err = check(ctx, "127.0.0.1:"+port)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "ledger: %v\n", err)
		return 1
	}
	return 0
}

func check(ctx context.Context, addr string) error {
	creds := insecure.NewCredentials()
	if os.Getenv("LEDGER_TLS_CERT") != "" { // the certificate is not for 127.0.0.1; the connection stays in the container
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
