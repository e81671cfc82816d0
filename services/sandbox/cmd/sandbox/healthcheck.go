package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"time"
)

// healthcheck connects to the sandbox in this container. It is a part of the binary because the image has no shell.
func healthcheck(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, port, err := net.SplitHostPort(cmp.Or(os.Getenv("SANDBOX_ADDR"), ":8081"))
	if err == nil {
		err = dial(ctx, net.JoinHostPort("127.0.0.1", port))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "sandbox: %v\n", err)
		return 1
	}
	return 0
}

func dial(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}
