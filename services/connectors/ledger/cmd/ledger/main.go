// Command ledger serves the books of the embedded ERP as a connector over gRPC, for services in other processes.
//
//	TIEBACK_DATA           the books are in its ledger folder; .tieback
//	LEDGER_ADDR            where to listen; :7070
//	LEDGER_TOKEN_FILE      path of the token that callers must send; two during a rotation
//	LEDGER_TLS_CERT        path of the certificate, PEM; it is read again for each connection
//	LEDGER_TLS_KEY         path of its private key, PEM
//	LEDGER_TLS_CLIENT_CA   path of a CA, PEM: callers must have a certificate of it
//	LEDGER_CURRENCY        the companies' own currency, an ISO code; by default that of the books, which is USD for new books
//	LEDGER_REHEARSAL       on: callers may make it simulate faults. Never with real books
//
// Without a certificate the connections are plaintext: only on one host or in a private network.
//
// With arguments it is a command for the books, such as list or check; see package ledgercmd.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/pkg/secretfile"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/connectors/ledger/ledgercmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		os.Exit(healthcheck(ctx))
	}
	if len(os.Args) > 1 {
		os.Exit(ledgercmd.Run(ctx, os.Args[1:], data(), os.Stdout, os.Stderr))
	}
	if err := serve(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "ledger: %v\n", err)
		os.Exit(1)
	}
}

func data() string { return cmp.Or(os.Getenv("TIEBACK_DATA"), ".tieback") }

func addr() string { return cmp.Or(os.Getenv("LEDGER_ADDR"), ":7070") }

func serve(ctx context.Context) (err error) {
	c, err := config()
	if err != nil {
		return err
	}
	if c.Listener, err = net.Listen("tcp", addr()); err != nil {
		return fmt.Errorf("LEDGER_ADDR: %w", err)
	}
	books := ledger.Open(filepath.Join(data(), "ledger"))
	defer func() { err = errors.Join(err, books.Close()) }()
	c.Resolve = resolve(books)
	fmt.Fprintf(os.Stderr, "ledger: books in %s, listening on %s, %s\n", data(), c.Listener.Addr(), protection(c))
	return remote.Serve(ctx, c)
}

// resolve returns the resolver of a company's books, which simulate a fault if a caller may ask for it.
func resolve(books *ledger.Ledger) remote.Resolver {
	settings := map[string]string{}
	if currency := os.Getenv("LEDGER_CURRENCY"); currency != "" {
		settings["currency"] = currency
	}
	return func(ctx context.Context, company int64) (connector.Driver, error) {
		d, err := books.Opener()(ctx, company, settings)
		if err != nil {
			return nil, err
		}
		return rehearsal.Edge(d), nil
	}
}

var isoCode = regexp.MustCompile(`^[A-Z]{3}$`)

// config reads the environment; the rest is checked by Serve.
func config() (c remote.ServerConfig, err error) {
	c.TLSCert, c.TLSKey, c.ClientCA = os.Getenv("LEDGER_TLS_CERT"), os.Getenv("LEDGER_TLS_KEY"), os.Getenv("LEDGER_TLS_CLIENT_CA")
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return c, errors.New("LEDGER_TLS_CERT and LEDGER_TLS_KEY: give both or neither")
	}
	if v := os.Getenv("LEDGER_CURRENCY"); v != "" && !isoCode.MatchString(v) {
		return c, fmt.Errorf("LEDGER_CURRENCY: is %q; it must be an ISO code such as USD", v)
	}
	switch v := os.Getenv("LEDGER_REHEARSAL"); v {
	case "", "off":
	case "on":
		c.Rehearsal = true
	default:
		return c, fmt.Errorf("LEDGER_REHEARSAL: is %q; it must be on or off", v)
	}
	if c.Tokens, err = tokens(os.Getenv("LEDGER_TOKEN_FILE")); err != nil {
		return c, fmt.Errorf("LEDGER_TOKEN_FILE: %w", err)
	}
	c.Log, err = zap.NewProduction()
	return c, err
}

// tokens reads the tokens. A file without a token is an error.
func tokens(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := secretfile.ReadSecret(path)
	if err != nil {
		return nil, err
	}
	out := strings.Fields(string(raw))
	if len(out) < 1 || len(out) > 2 {
		return nil, fmt.Errorf("%s needs one token, or two during a rotation; it has %d", path, len(out))
	}
	return out, nil
}

// protection describes how the connections are protected.
func protection(c remote.ServerConfig) string {
	how := "TLS"
	if c.TLSCert == "" {
		how = "plaintext"
	}
	if c.ClientCA != "" {
		how += " with client certificates"
	}
	if len(c.Tokens) == 0 {
		how += ", no token"
	} else {
		how += ", by token"
	}
	if c.Rehearsal {
		how += ", REHEARSAL: callers may make it simulate faults"
	}
	return how
}
