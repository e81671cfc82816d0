//go:build unix

// Command tryton-company sets up a company in Tryton.
//
//	tryton-company run [folder]       starts a private PostgreSQL and trytond with a company, until Ctrl-C;
//	                                  the books are kept in folder (default .tieback/tryton)
//	tryton-company set-up             sets up a company in your own Tryton, in which the modules are activated:
//	    -url http://host:8000 -database NAME -user admin -password-file FILE -company NAME -currency USD
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tieback/tieback/pkg/secretfile"
	"github.com/tieback/tieback/services/connectors/tryton"
	"github.com/tieback/tieback/services/connectors/tryton/local"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := fmt.Errorf("usage: tryton-company run [folder], or tryton-company set-up -url … -database … -user … -password-file … -company … [-currency …]")
	switch {
	case len(args) > 0 && args[0] == "run":
		err = serve(ctx, args[1:])
	case len(args) > 0 && args[0] == "set-up":
		err = setUp(ctx, args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tryton-company:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, args []string) error {
	dir := filepath.Join(".tieback", "tryton")
	if len(args) > 0 {
		dir = args[0]
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s, err := local.Start(ctx, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Printf("connector: {driver: tryton, url: %q, database: %s, user: %s, password: %s, company: %q}\n",
		s.URL(), local.Database, local.User, local.Password, local.Company)
	<-ctx.Done()
	return s.Close()
}

func setUp(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("set-up", flag.ContinueOnError)
	settings := map[string]string{}
	for _, name := range []string{"url", "database", "user"} {
		flags.Func(name, "of Tryton", func(v string) error { settings[name] = v; return nil })
	}
	file := flags.String("password-file", "", "file with the user's password")
	company := flags.String("company", "", "the company's name")
	currency := flags.String("currency", "USD", "the company's currency")
	if err := flags.Parse(args); err != nil {
		return err
	}
	raw, err := secretfile.ReadSecret(*file)
	if err != nil {
		return err
	}
	settings["password"] = strings.TrimSpace(string(raw))
	return tryton.SetUp(ctx, settings, *company, *currency)
}
