// Command tieback runs the whole pipeline in one process, and has the commands of its operators. Each subcommand has a
// package of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/connectors/ledger/ledgercmd"
	"github.com/tieback/tieback/services/console"
	"github.com/tieback/tieback/services/tieback/audit"
	"github.com/tieback/tieback/services/tieback/backup"
	"github.com/tieback/tieback/services/tieback/bench"
	"github.com/tieback/tieback/services/tieback/catalogue"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/config"
	"github.com/tieback/tieback/services/tieback/connector"
	"github.com/tieback/tieback/services/tieback/dead"
	"github.com/tieback/tieback/services/tieback/demo"
	"github.com/tieback/tieback/services/tieback/demo/erps"
	"github.com/tieback/tieback/services/tieback/doctor"
	"github.com/tieback/tieback/services/tieback/internal/completion"
	"github.com/tieback/tieback/services/tieback/links"
	"github.com/tieback/tieback/services/tieback/losses"
	"github.com/tieback/tieback/services/tieback/requests"
	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/setup"
	"github.com/tieback/tieback/services/tieback/status"
	"github.com/tieback/tieback/services/tieback/sweep"
	"github.com/tieback/tieback/services/tieback/trace"
)

func main() { os.Exit(execute()) }

// exitCode is an error whose reason has been printed.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// execute runs the command line and returns its exit code: 0 done, 1 failed, 2 wrong usage or settings.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return codeOf(os.Stderr, root().ExecuteContext(ctx))
}

// root returns the command tieback with all subcommands.
func root() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tieback", Short: "Connect Procore to a contractor's ERP",
		Long: `Tieback connects Procore to a contractor's ERP.

Exit codes of all commands; the help of a command has the details:
  0  done, and nothing is wrong
  1  the command failed, or it found a problem
  2  wrong usage or settings

The shell can complete commands, flags, companies, requests and dead letters: see tieback help completion.`,
		Version: telemetry.Version, SilenceUsage: true, SilenceErrors: true,
	}
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"operate", "Operate:", []*cobra.Command{
			runCommand(), status.Command(), requests.Command(), trace.Command(), dead.Command(), audit.Command(), sweep.Command(), links.Command(), doctor.Command(), losses.Command(), backup.Command(), backup.RestoreCommand(), ledgerCommand(),
		}},
		{"connect", "Connect:", []*cobra.Command{setup.Command(), setup.WebhooksCommand(), config.Command()}},
		{"develop", "Develop:", []*cobra.Command{connector.Command(), demoCommand(), benchCommand(), catalogueCommand()}},
	} {
		cmd.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			cmd.AddCommand(c)
		}
	}
	cmd.AddCommand(versionCommand())
	completion.Into(cmd)
	rejectHelpForUnknown(cmd)
	return cmd
}

// rejectHelpForUnknown makes help for an unknown command a usage error. By default cobra prints the help of root and exits
// with 0.
func rejectHelpForUnknown(root *cobra.Command) {
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
			return fmt.Errorf("unknown command %q: %s lists the commands", strings.Join(args, " "), list)
		}
	}
}

// codeOf returns the exit code for an error. It prints the error to w unless the command has done so.
func codeOf(w io.Writer, err error) int {
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, command.ErrFailed), errors.Is(err, connector.ErrFailed), errors.Is(err, setup.ErrFailed):
		return 1
	}
	fmt.Fprintf(w, "tieback: %v\n", err)
	return 2
}

func demoCommand() *cobra.Command {
	o := demo.Options{Console: func(l net.Listener, data string, link func(string)) tenant.Service {
		return serveConsole(console.Options{Listener: l, Socket: console.Socket(data), Link: link})
	}}
	var erp, address string
	cmd := &cobra.Command{
		Use: "demo", Short: "Run the whole pipeline with all event types against a simulated Procore", Args: cobra.NoArgs,
		Long: `Run the whole pipeline in one process with all event types: simulated accountants work in a simulated
Procore, and the ERP is the embedded ledger unless --erp names another. At the end demo compares the ERP's
books with what Procore exported.

Exit code 0: all events ended as they should. 1: some did not, or the demo failed. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.ERP, err = erps.Named(erp, address); err != nil {
				return err
			}
			ok, err := demo.Run(cmd.Context(), o, os.Stdout)
			if err != nil {
				fmt.Fprintf(os.Stderr, "tieback demo: %v\n", err)
			}
			if err != nil || !ok {
				return exitCode(1)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "keep serving after the last event, until interrupted")
	cmd.Flags().StringVar(&erp, "erp", "ledger", "the ERP: ledger (embedded), tryton, or remote (a connector over gRPC)")
	cmd.Flags().StringVar(&address, "address", "", "with --erp remote: host:port of a running connector, without TLS; default: the demo starts one")
	cmd.Flags().Uint64Var(&o.Seed, "seed", 1, "seed of the random choices of the demo")
	return cmd
}

func runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run all services in one process", Args: cobra.NoArgs,
		Long: `Run all services in one process, for the companies in the companies file, until a signal stops it. Without
TIEBACK_NATS_URL it uses an embedded broker in TIEBACK_DATA.

Exit code 0: stopped by a signal. 1: a service failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := tenant.Load("tieback", os.Getenv, tenant.ValidCompanies)
			if err != nil {
				return err
			}
			if demo.Made(p.Settings.Data) {
				return fmt.Errorf("TIEBACK_DATA: %s was created by tieback demo, and the next demo deletes its content: give another directory", p.Settings.Data)
			}
			if err := serve(cmd.Context(), p); err != nil && cmd.Context().Err() == nil {
				p.Log.Error("stopped by an error", zap.Error(err))
				return exitCode(1)
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
	pl, err := run.Open(ctx, p, connectors.Drivers)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer pl.Close()
	options, err := consoleOptions(p)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	pl.Console = serveConsole(options)
	p.Log.Info("running", zap.Stringer("ingest", l.Addr()), zap.String("admin", p.Settings.AdminAddr), zap.Int("companies", len(p.Companies)))
	return pl.Run(ctx, l)
}

// serveConsole returns the console as a service.
func serveConsole(o console.Options) tenant.Service {
	return func(ctx context.Context, a *tenant.App) error { return console.Run(ctx, a, o) }
}

// consoleOptions opens the console's address. With off, the commands of this machine are served nevertheless.
func consoleOptions(p *tenant.App) (console.Options, error) {
	if p.Settings.ConsoleAddr == "off" {
		return console.Options{Socket: console.Socket(p.Settings.Data)}, nil
	}
	l, err := net.Listen("tcp", p.Settings.ConsoleAddr)
	if err != nil {
		return console.Options{}, fmt.Errorf("TIEBACK_CONSOLE_ADDR (off: no console): %w", err)
	}
	return console.Options{
		Listener: l, Socket: console.Socket(p.Settings.Data),
		Link: func(link string) {
			fmt.Fprintln(os.Stderr, "The console, for this machine's user; the link can be opened once:", link)
		},
	}, nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: cobra.NoArgs,
		Long: `Print the version of this program, the commit that it was built from, and the version of Go. tieback status -o json has the
version of the server.

Exit code 0: printed. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "tieback %s, commit %s, %s %s/%s\n", telemetry.Version, telemetry.Revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

func ledgerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ledger list|show|add|delete|check|accept-loss --company N ...", Short: "Show or change the books of the embedded ERP",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := ledgercmd.Run(cmd.Context(), args, settings.DataFolder(os.Getenv), os.Stdout, os.Stderr); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}

func benchCommand() *cobra.Command {
	var o bench.Options
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure the pipeline beside one that is written by hand", Args: cobra.NoArgs,
		Long: `Measure the CPU, throughput and latency of the pipeline beside a pipeline that is written by hand on nats.go for the same work
(package reference), in alternating rounds, with every write synced. The shape "a process each" needs the programs of the services in
the folder of this program; make bench builds them there.

With --recovery, kill each process with SIGKILL in turn, restart it, and measure the time until all events are closed. With --quota,
measure the calls to Procore per event where its limits are scarce. With --scale, measure the CPU time per event with 1, 100 and 1,000
companies. With --backlog 100000, measure rate and memory while that many waiting events are processed. With --fair, measure how much
another company's load or failure delays the exports of ten others. With --viewers 50, measure the throughput and CPU time without and
with 50 viewers of the console's first page, alternately. The console and the viewers run in processes of their own. With --stored
1000,10000, measure the memory, disk and restart of a broker with what it keeps at these rates, in events per day, and its backup,
verification and restore.

Exit code 0: measured. 1: the measurement failed, or a pipeline lost, doubled or misreported an event. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := bench.Run(cmd.Context(), o, os.Stdout); err != nil {
				fmt.Fprintf(os.Stderr, "tieback bench: %v\n", err)
				return exitCode(1)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&o.Events, "events", 1000, "number of exports in a burst")
	cmd.Flags().IntVar(&o.Rounds, "rounds", 2, "number of rounds")
	cmd.Flags().IntVar(&o.Rate, "rate", 200, "events per second in the steady part of a round")
	cmd.Flags().IntVar(&o.Seconds, "seconds", 2, "duration of the steady part of a round in seconds")
	cmd.Flags().BoolVar(&o.Full, "full", false, "5 rounds of 20,000 events and 20 seconds, then --quota and --recovery")
	cmd.Flags().StringVar(&o.Programs, "programs", "", "folder with the programs of the services; default: the folder of this program")
	cmd.Flags().BoolVar(&o.Scale, "scale", false, "measure the CPU time per event with 1, 100 and 1,000 companies")
	cmd.Flags().IntVar(&o.Backlog, "backlog", 0, "measure while this many waiting events are processed")
	cmd.Flags().BoolVar(&o.Quota, "quota", false, "measure the calls to Procore per event with the limits of 3,600 calls per hour and of 25 in 10 seconds")
	cmd.Flags().BoolVar(&o.Recovery, "recovery", false, "kill each process with SIGKILL in turn and measure the recovery")
	cmd.Flags().StringVar(&o.Profile, "cpuprofile", "", "with --viewers: write a CPU profile to this file")
	cmd.Flags().StringVar(&o.Part, "part", "", "be a part of the benchmark")
	cmd.Flags().BoolVar(&o.Fair, "fair", false, "measure the exports of ten companies while another company has a high load or a failure")
	cmd.Flags().IntVar(&o.FairRate, "fair-rate", 2, "with --fair: exports per second of each measured company; the other company has 100 times as many")
	cmd.Flags().IntVar(&o.FairSeconds, "fair-seconds", 60, "with --fair: duration of each measurement in seconds")
	cmd.Flags().IntVar(&o.Viewers, "viewers", 0, "measure without and with this many viewers of the console")
	cmd.Flags().IntSliceVar(&o.Stored, "stored", nil, "measure a broker with what it keeps at these rates, in events per day")
	_ = cmd.Flags().MarkHidden("part")
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
	cmd.Flags().StringVar(&into, "into", "", "write the table into this file, between the catalogue marks")
	return cmd
}
