// Command tieback is the whole pipeline in one process, and its tools.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/services/connectors/ledger/ledgercmd"
	"github.com/tieback/tieback/services/tieback/audit"
	"github.com/tieback/tieback/services/tieback/bench"
	"github.com/tieback/tieback/services/tieback/catalogue"
	"github.com/tieback/tieback/services/tieback/connector"
	"github.com/tieback/tieback/services/tieback/dead"
	"github.com/tieback/tieback/services/tieback/demo"
	"github.com/tieback/tieback/services/tieback/doctor"
	"github.com/tieback/tieback/services/tieback/internal/completion"
	"github.com/tieback/tieback/services/tieback/links"
	"github.com/tieback/tieback/services/tieback/losses"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/setup"
	"github.com/tieback/tieback/services/tieback/status"
	"github.com/tieback/tieback/services/tieback/trace"
)

func main() { os.Exit(execute()) }

// exit is an exit code whose reason has been told already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// execute returns 0 for done, 1 for failed, 2 for wrong usage or settings.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return codeOf(os.Stderr, root().ExecuteContext(ctx))
}

// root is the whole command.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tieback", Short: "Tieback ties Procore to a contractor's ERP.",
		Long: `Tieback ties Procore to a contractor's ERP.

Exit codes, of every command; its help says what they mean there:
  0  done, and all is well
  1  it failed, or something is wrong
  2  wrong usage or settings

Completion of commands, flags, companies and dead letters: tieback completion bash|zsh|fish, whose help says how.`,
		Version: telemetry.Version, SilenceUsage: true, SilenceErrors: true,
	}
	cmd.AddCommand(demoCommand(), runCommand(), connector.Command(), links.Command(), dead.Command(), ledgerCommand(), benchCommand(), catalogueCommand())
	cmd.AddCommand(audit.Command(), audit.SweepCommand(), setup.Command(), setup.WebhooksCommand(), doctor.Command())
	cmd.AddCommand(status.Command(), trace.Command(), losses.Command())
	completion.Into(cmd)
	helpOnlyForWhatIs(cmd)
	return cmd
}

// helpOnlyForWhatIs makes help for no command wrong usage: cobra prints the root's, and is content.
func helpOnlyForWhatIs(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() != "help" {
			continue
		}
		help.Args = func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err == nil && (len(rest) == 0 || !found.HasSubCommands()) {
				return nil
			}
			list := "tieback help"
			if found != nil && found != root {
				list = "tieback help " + strings.TrimPrefix(found.CommandPath(), "tieback ")
			}
			return fmt.Errorf("there is no command %q: %s lists all", strings.Join(args, " "), list)
		}
	}
}

// codeOf is the exit code that an error comes to; one that was not told yet is told.
func codeOf(w io.Writer, err error) int {
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, links.ErrFailed), errors.Is(err, audit.ErrFailed), errors.Is(err, dead.ErrFailed), errors.Is(err, connector.ErrFailed),
		errors.Is(err, setup.ErrFailed), errors.Is(err, doctor.ErrFailed), errors.Is(err, status.ErrFailed), errors.Is(err, trace.ErrFailed), errors.Is(err, losses.ErrFailed):
		return 1
	}
	fmt.Fprintf(w, "tieback: %v\n", err)
	return 2
}

func demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use: "demo", Short: "Play a company's accountants through all event types, on embedded parts", Args: cobra.NoArgs,
		Long: `Play a company's accountants through all event types, against a sandbox of Procore, on embedded parts.

Exit code 0: all ended as it should. 1: not all, or it failed. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ok, err := demo.Run(cmd.Context(), o, os.Stdout)
			if err != nil {
				fmt.Fprintf(os.Stderr, "tieback demo: %v\n", err)
			}
			if err != nil || !ok {
				return exit(1)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "go on serving after the play")
	cmd.Flags().StringVar(&o.ERP, "erp", "ledger", "the ERP: ledger (embedded), tryton, or remote (over gRPC)")
	cmd.Flags().StringVar(&o.Address, "address", "", "with --erp remote: host:port of a connector that runs already, without TLS")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of all that is random in the play")
	return cmd
}

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Serve a real Procore, all services in one process, until stopped", Args: cobra.NoArgs,
		Long: `Serve a real Procore, all services in one process, until stopped.

Exit code 0: stopped by a signal. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := tenant.LoadServing("tieback")
			if err != nil {
				return err
			}
			if demo.Made(p.Settings.Data) {
				return fmt.Errorf("TIEBACK_DATA: %s was made by a demo, and the next demo empties it; give a real company another folder", p.Settings.Data)
			}
			if err := serve(cmd.Context(), p); err != nil && cmd.Context().Err() == nil {
				p.Log.Error("stopped", zap.Error(err))
				return exit(1)
			}
			return nil
		},
	}
}

func serve(ctx context.Context, p *tenant.App) error {
	l, err := net.Listen("tcp", p.Settings.IngestAddr)
	if err != nil {
		return fmt.Errorf("TIEBACK_INGEST_ADDR: %w", err)
	}
	pl, err := run.Open(ctx, p)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer pl.Close()
	p.Log.Info("running", zap.Stringer("ingest", l.Addr()), zap.String("admin", p.Settings.AdminAddr), zap.Int("companies", len(p.Companies)))
	return pl.Run(ctx, l)
}

func ledgerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ledger list|show|add|delete|check|accept-loss --company N ...", Short: "Look at the embedded ERP's books, and change them by hand",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := ledgercmd.Run(cmd.Context(), args, settings.DataFolder(os.Getenv), os.Stdout, os.Stderr); code != 0 {
				return exit(code)
			}
			return nil
		},
	}
}

func benchCommand() *cobra.Command {
	var o bench.Options
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure the pipeline end to end, beside a bare JetStream publish", Args: cobra.NoArgs,
		Long: `Measure the pipeline end to end, beside a bare JetStream publish.

Exit code 0: measured. 1: it failed. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := bench.Run(cmd.Context(), o, os.Stdout); err != nil {
				fmt.Fprintf(os.Stderr, "tieback bench: %v\n", err)
				return exit(1)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&o.Events, "events", 5000, "vendor exports in the throughput run")
	cmd.Flags().IntVar(&o.Rate, "rate", 100, "events a second in the steady run")
	cmd.Flags().StringVar(&o.Profile, "cpuprofile", "", "write a CPU profile of the throughput run to this file")
	cmd.Flags().BoolVar(&o.Sandbox, "sandbox", false, "be the bench's Procore, in a process of its own")
	cmd.Flags().BoolVar(&o.Fair, "fair", false, "measure one company's exports beside another company in trouble instead")
	cmd.Flags().IntVar(&o.FairRate, "fair-rate", 2, "with --fair: exports a second of the one; the other has a hundred times as many")
	cmd.Flags().IntVar(&o.FairSeconds, "fair-seconds", 60, "with --fair: seconds of each measurement")
	cmd.Flags().BoolVar(&o.FairSandbox, "fair-sandbox", false, "be the Procore of --fair, in a process of its own")
	_ = cmd.Flags().MarkHidden("sandbox")
	_ = cmd.Flags().MarkHidden("fair-sandbox")
	return cmd
}

func catalogueCommand() *cobra.Command {
	var into string
	cmd := &cobra.Command{
		Use: "catalogue", Short: "Print the table of event types in Markdown", Args: cobra.NoArgs,
		Long: `Print the table of event types in Markdown.

Exit code 0: printed. 2: wrong usage, or the file can't be written.`,
		RunE: func(*cobra.Command, []string) error {
			if into != "" {
				return catalogue.Rewrite(into)
			}
			return catalogue.Catalogue(os.Stdout)
		},
	}
	cmd.Flags().StringVar(&into, "into", "", "put it between the catalogue marks of this file instead")
	return cmd
}
