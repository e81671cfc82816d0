package connector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/connector/conformance"
	"github.com/tieback/tieback/pkg/connector/conformance/wire"
	"github.com/tieback/tieback/pkg/connector/remote"
)

// verification has the flags of `tieback connector verify`.
type verification struct {
	address        string
	company, other int64
	restart, stop  string
	tokenFile, ca  string
	tls            string
	run            string
	timeout        time.Duration
	output         string
}

func verifyCommand() *cobra.Command {
	var v verification
	cmd := &cobra.Command{
		Use:   "verify ADDRESS --company N",
		Short: "Run the conformance suite against a connector",
		Long: `Run the conformance suite against the connector at ADDRESS (host:port). The suite books records, changes them
and removes them: never use a company with real books. Each case passes, fails with an example of the damage
in a real ledger, or is left out with the reason.

Exit code 0: all cases passed. 1: a case failed, no case ran, or the suite was interrupted. 2: wrong usage.`,
		Example: `  tieback connector verify 127.0.0.1:7070 --company 1 --tls off \
      --restart 'docker kill -s KILL erp && docker start erp'`,
		Args: one("give the connector's address, as in tieback connector verify 127.0.0.1:7070 --company 1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v.address = args[0]
			return v.verify(cmd)
		},
	}
	f := cmd.Flags()
	f.Int64Var(&v.company, "company", 0, "the company whose books the suite changes; a company for tests")
	f.Int64Var(&v.other, "other-company", 0, "another company of the connector, to check that it keeps the companies apart")
	f.StringVar(&v.restart, "restart", "", "a shell command that kills the connector without warning and starts it again")
	f.StringVar(&v.stop, "stop", "", "a shell command that stops the connector in good order, as an update does, and starts it again")
	f.StringVar(&v.tokenFile, "token-file", "", "a file with the token that the connector requires")
	f.StringVar(&v.ca, "ca", "", "a PEM file with the certificates to trust; default: those of the system")
	f.StringVar(&v.tls, "tls", "on", "on or off; off only for a connector on this host or in a private network")
	f.StringVar(&v.run, "run", "", "run only the cases whose names match this regular expression")
	f.DurationVar(&v.timeout, "timeout", 2*time.Minute, "time limit of each case")
	f.StringVarP(&v.output, "output", "o", "table", "table or json")
	return cmd
}

// verify runs the suite and prints the results. Its error is ErrFailed or a usage error.
func (v *verification) verify(cmd *cobra.Command) error {
	settings, o, err := v.read()
	if err != nil {
		return err
	}
	p, err := printerOf(v.output, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	o.Done = p.result
	r, err := v.suite(cmd.Context(), settings, o)
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "tieback connector: %v\n", err)
		return ErrFailed
	}
	if err := p.report(r); err != nil || !r.OK() {
		return errors.Join(err, ErrFailed)
	}
	return nil
}

func (v *verification) suite(ctx context.Context, settings map[string]string, o conformance.Options) (conformance.Report, error) {
	target, err := wire.Target(ctx, v.company, settings)
	if err != nil {
		return conformance.Report{}, v.explain(err)
	}
	target.Other = v.other
	if v.restart != "" {
		target.Restart = func(ctx context.Context) error { return shell(ctx, "--restart", v.restart) }
	}
	if v.stop != "" {
		target.Stop = func(ctx context.Context) error { return shell(ctx, "--stop", v.stop) }
	}
	return conformance.Run(ctx, target, o)
}

// explain adds a hint to a failed TLS handshake, unless the error is about a certificate.
func (v *verification) explain(err error) error {
	if text := err.Error(); v.tls == "off" || !strings.Contains(text, "handshake failed") || strings.Contains(text, "certificate") {
		return err
	}
	return fmt.Errorf("%w: if the connector does not use TLS, give --tls off", err)
}

// read checks the flags and reads the files that they name.
func (v *verification) read() (settings map[string]string, o conformance.Options, err error) {
	if v.company <= 0 {
		return nil, o, errors.New("--company is missing: give the id of a company for tests; the suite changes its books")
	}
	settings = map[string]string{"address": v.address, "tls": v.tls}
	for name, path := range map[string]string{"token": v.tokenFile, "ca": v.ca} {
		if path == "" {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, o, err
		}
		settings[name] = strings.TrimSpace(string(raw))
	}
	if o.Run, err = regexp.Compile(v.run); err != nil {
		return nil, o, fmt.Errorf("--run: %w", err)
	}
	d, err := remote.Open(context.Background(), v.company, settings)
	if err != nil {
		return nil, o, err
	}
	o.Timeout = v.timeout
	return settings, o, d.Close()
}

// shell runs the command of a flag. The output goes to a file: with a pipe, Run would wait for a connector that the command has
// started in the background.
func shell(ctx context.Context, flag, command string) error {
	output, err := os.CreateTemp("", "tieback-restart-")
	if err != nil {
		return err
	}
	defer os.Remove(output.Name())
	defer output.Close()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = errors.New("the command did not end within the time limit of the case: it must start the connector in the background")
	}
	raw, _ := os.ReadFile(output.Name()) // without it the error is only shorter
	return fmt.Errorf("%s %q: %w: %s", flag, command, err, strings.TrimSpace(string(raw)))
}
