// Command ledger serves the embedded ERP's books as a connector over gRPC, for services that
// run apart from it.
//
//	TIEBACK_DATA    the books are in its ledger folder; .tieback
//	LEDGER_ADDR     where to listen; :7070
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/services/ledger"
	"github.com/tieback/tieback/services/ledger/ledgercmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		os.Exit(healthcheck(ctx))
	}
	if len(os.Args) > 1 { // list, show, add, delete: as `tieback ledger`
		os.Exit(ledgercmd.Run(ctx, os.Args[1:], data(), os.Stdout, os.Stderr))
	}
	if err := serve(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "ledger: %v\n", err)
		os.Exit(1)
	}
}

func data() string { return or(os.Getenv("TIEBACK_DATA"), ".tieback") }

func or(v, otherwise string) string {
	if v != "" {
		return v
	}
	return otherwise
}

func serve(ctx context.Context) (err error) {
	l, err := net.Listen("tcp", or(os.Getenv("LEDGER_ADDR"), ":7070"))
	if err != nil {
		return fmt.Errorf("LEDGER_ADDR: %w", err)
	}
	books := ledger.Open(filepath.Join(data(), "ledger"))
	defer func() { err = errors.Join(err, books.Close()) }()
	s := grpc.NewServer(grpc.MaxRecvMsgSize(remote.MaxMessage), grpc.MaxSendMsgSize(remote.MaxMessage))
	remote.Register(s, func(ctx context.Context, company int64) (connector.Driver, error) { return books.Company(ctx, company) })
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	context.AfterFunc(ctx, s.GracefulStop)
	fmt.Fprintf(os.Stderr, "ledger: books in %s, listening on %s\n", data(), l.Addr())
	return s.Serve(l)
}
