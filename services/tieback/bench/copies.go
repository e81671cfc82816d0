package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
)

const copiesHeader = "\nevents a day   messages   command   seconds   CPU s   peak MiB   broker's CPU s   its peak MiB   backup MB\n"

// copies measures `tieback backup`, `backup verify` and `restore`, each as a process of its own, on the broker c of storedAt, which has
// a number of messages. The backup is encrypted, and stored in a folder. Verify runs a broker in its own process; restore fills another
// empty broker.
func (c *child) copies(ctx context.Context, dir string, perDay, messages int, out io.Writer) error {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	identity, to, tmp := filepath.Join(dir, "key"), filepath.Join(dir, "backups"), filepath.Join(dir, "tmp")
	if err := os.WriteFile(identity, []byte(key.String()+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil { // for the broker of verify, on the same disk as the others
		return err
	}
	empty, err := startChild(ctx, "stored", dir, "BENCH_DATA="+filepath.Join(dir, "restored"))
	if err != nil {
		return err
	}
	defer empty.kill()
	for _, command := range []struct {
		name   string
		broker *child // nil: the command has its own
		args   []string
	}{
		{"backup", c, []string{"backup", to, "--recipient", key.Recipient().String()}},
		{"verify", nil, []string{"backup", "verify", to, "--identity", identity}},
		{"restore", empty, []string{"restore", to, "--identity", identity}},
	} {
		p := part("", dir, "TMPDIR="+tmp, "TIEBACK_DATA="+filepath.Join(dir, "data"))
		p.name, p.argv = command.name, append(p.argv[:1:1], command.args...)
		brokerCPU, brokerPeak := 0.0, 0.0 // in verify, part of its own
		if b := command.broker; b != nil {
			var url string
			if err := b.get(ctx, "/nats", &url); err != nil {
				return err
			}
			p.env = append(p.env, "TIEBACK_NATS_URL="+url)
			if brokerCPU, err = b.cpu(); err != nil {
				return err
			}
		}
		used, err := p.finish(ctx)
		if err != nil {
			return err
		}
		if b := command.broker; b != nil {
			now, err := b.cpu()
			if err != nil {
				return err
			}
			brokerCPU = now - brokerCPU
			brokerPeak, _ = b.memory()
		}
		size, err := sizeOf(to)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%12d %10d   %-7s %9.1f %7.1f %10.0f %16.1f %14.0f %11.1f\n",
			perDay, messages, command.name, used.wall.Seconds(), used.cpu.Seconds(), used.peak, brokerCPU, brokerPeak, size/1e6)
	}
	return nil
}

// used is what a process has used in its life.
type used struct {
	wall, cpu time.Duration
	peak      float64 // resident memory, in MiB; 0: not known
}

// finish starts the process and waits until it has ended. An exit code other than 0 is an error.
func (p *process) finish(ctx context.Context) (u used, err error) {
	began := time.Now()
	if err := p.start(ctx); err != nil {
		return u, err
	}
	for running := true; running; {
		select {
		case <-p.ended:
			running = false
		case <-time.After(10 * time.Millisecond): // a process that has ended has no peak any more
			if peak, _ := p.memory(); peak > 0 {
				u.peak = peak
			}
		}
	}
	state := p.cmd.ProcessState
	u.wall, u.cpu = time.Since(began), state.UserTime()+state.SystemTime()
	if !state.Success() {
		return u, fmt.Errorf("%s: %v: %s", p.name, state, p.lastWords())
	}
	return u, nil
}
