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

// verification is what "tieback connector verify" is asked for.
type verification struct {
	address        string
	company, other int64
	restart        string
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
		Short: "Prove that a connector books once, loses nothing and tells the truth",
		Long: `Verify runs the conformance suite against a connector that listens at ADDRESS
(host:port). It books records, changes and removes them: never point it at real books.
Each case passes, fails with what a real ledger would look like, or is left out, with the reason.

Exit code 0: all cases passed. 1: one failed, nothing was proved, or it was interrupted. 2: wrong usage.`,
		Example: `  tieback connector verify 127.0.0.1:7070 --company 1 --tls off \
      --restart 'docker kill -s KILL erp && docker start erp'`,
		Args: one("name where the connector listens, as in tieback connector verify 127.0.0.1:7070 --company 1"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v.address = args[0]
			return v.verify(cmd)
		},
	}
	f := cmd.Flags()
	f.Int64Var(&v.company, "company", 0, "the company whose books are used; made for testing")
	f.Int64Var(&v.other, "other-company", 0, "another company that the connector serves, to see that it keeps them apart")
	f.StringVar(&v.restart, "restart", "", "a shell command that kills the connector without warning and starts it again")
	f.StringVar(&v.tokenFile, "token-file", "", "a file with the token that the connector asks for")
	f.StringVar(&v.ca, "ca", "", "a file with the certificates to trust, in PEM; the system's")
	f.StringVar(&v.tls, "tls", "on", "on, or off for a connector on this host or a private network")
	f.StringVar(&v.run, "run", "", "only the cases whose names match this regular expression")
	f.DurationVar(&v.timeout, "timeout", 2*time.Minute, "of each case")
	f.StringVarP(&v.output, "output", "o", "table", "table or json")
	return cmd
}

// verify returns errors of usage, and ErrFailed.
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
		return conformance.Report{}, v.explained(err)
	}
	target.Other = v.other
	if v.restart != "" {
		target.Restart = v.kill
	}
	return conformance.Run(ctx, target, o)
}

// explained adds what a failed handshake most often means; one that failed over a certificate says so itself.
func (v *verification) explained(err error) error {
	if said := err.Error(); v.tls == "off" || !strings.Contains(said, "handshake failed") || strings.Contains(said, "certificate") {
		return err
	}
	return fmt.Errorf("%w: is it plaintext? then --tls off", err)
}

// read checks the flags and reads the files that they name.
func (v *verification) read() (settings map[string]string, o conformance.Options, err error) {
	if v.company <= 0 {
		return nil, o, errors.New("--company is missing: the number of a company made for testing, whose books are used")
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

// kill runs the command that restarts the connector. What it says goes to a file and not to a
// pipe: a connector that it leaves behind may hold that for as long as it runs.
func (v *verification) kill(ctx context.Context) error {
	said, err := os.CreateTemp("", "tieback-restart-")
	if err != nil {
		return err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd := exec.CommandContext(ctx, "sh", "-c", v.restart)
	cmd.Stdout, cmd.Stderr = said, said
	err = cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = errors.New("it had not ended when the time of the case was over; does it start the connector in the foreground?")
	}
	raw, _ := os.ReadFile(said.Name()) // what it said only explains
	return fmt.Errorf("--restart %q: %w: %s", v.restart, err, strings.TrimSpace(string(raw)))
}
