// Package ledgercmd is the command tieback ledger, which reads and changes the books of the embedded ERP by hand.
package ledgercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/services/connectors/ledger"
)

// Exit codes of Run.
const (
	ok     = 0
	failed = 1
	usage  = 2
)

const help = `Reads and changes the books of the embedded ledger by hand, like a user of the ERP.

  tieback ledger list ENTITY --company N
  tieback ledger show ENTITY ORIGIN_ID --company N
  tieback ledger add ENTITY --company N --name ... [--code ... --vendor ... --job ... --amount ... --line ...]
  tieback ledger delete ENTITY ORIGIN_ID --company N
  tieback ledger check --company N          checks that the books balance and that nothing is booked twice
  tieback ledger accept-loss --company N    opens books again that have lost bookings: keeps a copy of the files,
                                            and assigns no origin id twice. Stop Tieback first

ENTITY is vendor, job, cost_code, commitment, payment or another entity of the ledger. Flags that refer to a record
(--vendor, --job, ...) take its origin id or its code.

Exit code 0: done. 1: it failed, or check found something. 2: wrong usage.

`

// usageError is a mistake in the command line: exit code 2.
type usageError struct{ error }

type command struct {
	company int64
	output  string
	add     addFlags
	args    []string
	flags   *pflag.FlagSet
}

// Run runs one command on the books in dataDir/ledger and returns the exit code: 0 success, 1 failure, 2 wrong usage.
// It writes results to stdout and errors to stderr.
func Run(ctx context.Context, args []string, dataDir string, stdout, stderr io.Writer) int {
	err := run(ctx, args, dataDir, stdout)
	var wrong usageError
	switch {
	case err == nil:
		return ok
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "tieback ledger: %v\nRun `tieback ledger --help` for usage.\n", err)
		return usage
	}
	fmt.Fprintf(stderr, "tieback ledger: %s\n", fault.UserMessage(err, err.Error()))
	return failed
}

func run(ctx context.Context, args []string, dataDir string, stdout io.Writer) error {
	c, err := parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		fmt.Fprint(stdout, help, "Flags:\n", c.flags.FlagUsages())
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	if dataDir == "" {
		return usageError{errors.New("TIEBACK_DATA is not set: set it to the path of the data folder")}
	}
	do, err := c.action()
	if err != nil {
		return usageError{err}
	}
	root := ledger.Open(filepath.Join(dataDir, "ledger"))
	if c.args[0] == "accept-loss" {
		return c.acceptLoss(ctx, root, stdout)
	}
	books, err := root.Company(ctx, c.company)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, books, stdout), root.Close())
}

func parse(args []string) (*command, error) {
	c := &command{flags: pflag.NewFlagSet("ledger", pflag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	c.flags.SortFlags = false
	c.flags.Usage = func() {}
	c.flags.Int64Var(&c.company, "company", 0, "the company's id in Procore (required)")
	c.flags.StringVarP(&c.output, "output", "o", "table", "table or json")
	c.add.define(c.flags)
	if err := c.flags.Parse(args); err != nil {
		return c, err
	}
	c.args = c.flags.Args()
	switch {
	case len(c.args) == 0:
		return c, errors.New("the command is missing: list, show, add, delete, check or accept-loss")
	case c.company <= 0:
		return c, errors.New("--company is missing: the company's id in Procore, a positive number")
	case c.output != "table" && c.output != "json":
		return c, fmt.Errorf("-o %s: must be table or json", c.output)
	}
	return c, nil
}

type action func(context.Context, *ledger.Books, io.Writer) error

// action returns what the command does. It opens nothing, so that a typo creates no file.
func (c *command) action() (action, error) {
	want, known := map[string]int{"list": 2, "show": 3, "add": 2, "delete": 3, "check": 1, "accept-loss": 1}[c.args[0]]
	if !known {
		return nil, fmt.Errorf("%q is not a command; the commands are list, show, add, delete, check and accept-loss", c.args[0])
	}
	if err := c.checkArgs(want); err != nil {
		return nil, err
	}
	switch c.args[0] {
	case "check":
		return c.check, nil
	case "accept-loss": // needs closed books; see run
		return nil, nil
	}
	e, err := ledger.ParseEntity(c.args[1])
	if err != nil {
		return nil, err
	}
	switch c.args[0] {
	case "list":
		return c.list(e), nil
	case "show":
		return c.show(e), nil
	case "delete":
		return c.remove(e), nil
	}
	if _, err := c.add.lines(); err != nil {
		return nil, err
	}
	return c.create(e), nil
}

func (c *command) checkArgs(want int) error {
	needs := []string{"", "ENTITY", "ORIGIN_ID"}
	switch {
	case len(c.args) < want:
		return fmt.Errorf("%s: %s is missing", c.args[0], needs[len(c.args)])
	case len(c.args) > want:
		return fmt.Errorf("%s: unexpected argument %q", c.args[0], c.args[want])
	}
	return nil
}

func (c *command) acceptLoss(ctx context.Context, l *ledger.Ledger, w io.Writer) error {
	if _, err := os.Stat(filepath.Dir(l.Path(c.company))); err != nil {
		return fmt.Errorf("there are no books: %w", err)
	}
	a, err := l.AcceptLoss(ctx, c.company)
	for _, path := range a.Kept {
		fmt.Fprintf(w, "Kept a copy: %s\n", path)
	}
	if err != nil {
		return err
	}
	if a.Transactions > 0 {
		fmt.Fprintf(w, "Lost: %d transactions. tieback audit finds the requests whose bookings are missing; reset and export them again.\n", a.Transactions)
	}
	_, err = fmt.Fprintf(w, "New records are numbered from %d on. Start Tieback again.\n", a.Next)
	return err
}

func (c *command) list(e ledger.Entity) action {
	return func(ctx context.Context, b *ledger.Books, w io.Writer) error {
		all, err := b.All(ctx, e)
		if err != nil {
			return err
		}
		return c.printAll(w, all)
	}
}

func (c *command) show(e ledger.Entity) action {
	return func(ctx context.Context, b *ledger.Books, w io.Writer) error {
		r, err := b.Get(ctx, e, c.args[2])
		if err != nil {
			return err
		}
		return c.printOne(w, r)
	}
}

func (c *command) remove(e ledger.Entity) action {
	return func(ctx context.Context, b *ledger.Books, w io.Writer) error {
		if err := b.Delete(ctx, e, c.args[2]); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "Deleted %s %s.\n", ledger.Title(e), c.args[2])
		return err
	}
}

func (c *command) create(e ledger.Entity) action {
	return func(ctx context.Context, b *ledger.Books, w io.Writer) error {
		r, err := c.add.record(ctx, b, e)
		if err != nil {
			return err
		}
		if r, err = b.Add(ctx, r); err != nil {
			return err
		}
		return c.printOne(w, r)
	}
}

func (c *command) check(ctx context.Context, b *ledger.Books, w io.Writer) error {
	if err := b.Balanced(ctx); err != nil {
		return err
	}
	twice, err := b.Duplicates(ctx)
	if err != nil {
		return err
	}
	for _, d := range twice {
		fmt.Fprintf(w, "%s %d of Procore is booked more than once: %v\n", ledger.Title(d.Entity), d.ProcoreID, d.OriginIDs)
	}
	if len(twice) > 0 {
		return fmt.Errorf("%d records are booked twice", len(twice))
	}
	if all, err := b.Currencies(ctx); err != nil {
		return err
	} else if len(all) > 1 {
		fmt.Fprintf(w, "The books are in %s; each is balanced by itself.\n", strings.Join(all, ", "))
	}
	_, err = fmt.Fprintln(w, "The books balance; nothing is booked twice.")
	return err
}
