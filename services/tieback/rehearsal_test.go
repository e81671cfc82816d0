package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"

	"github.com/tieback/tieback/services/sandbox"
)

// rehearsedCompany is the company of the pages' examples, and of the sandbox.
const rehearsedCompany = "598134325841112"

// rehearsed reports whether TestTheRehearsal runs the command.
func rehearsed(args []string) bool {
	line := strings.Join(args, " ")
	switch args[0] {
	case "run", "doctor", "audit", "sweep", "trace", "links", "ledger", "completion":
		return true
	case "requests":
		return !slices.Contains(args, "try") // no request waits
	case "losses":
		return !slices.Contains(args, "--accept")
	case "status":
		return !slices.Contains(args, "-w")
	case "dead":
		return args[1] == "list" || args[1] == "show"
	case "setup": // that of the block, and those that find the company connected
		return strings.Contains(line, "--client-id demo") || regexp.MustCompile(`^setup --company \d+( --dry-run)?$`).MatchString(line)
	}
	return false
}

// reports are the commands that exit with 1 if something needs attention. After the rehearsal a dead letter does.
var reports = []string{"status", "doctor", "trace"}

// rehearsal runs the shell block of docs/connect.md that connects the sandbox's company. The programs that it
// builds and starts run in this process, at addresses that are free.
type rehearsal struct {
	*testing.T
	procore, ingest string // host:port

	ctx     context.Context
	running sync.WaitGroup
	stop    context.CancelFunc // ends tieback run
	out     strings.Builder
}

// TestTheRehearsal follows docs/connect.md, and then runs the other commands of tieback that the pages show.
func TestTheRehearsal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &rehearsal{T: t, ctx: ctx, procore: freeAddress(t), ingest: freeAddress(t)}
	t.Cleanup(r.running.Wait)
	t.Cleanup(cancel)
	r.block()
	request := r.number(r.out.String(), `"erp_request_id":(\d+)`)
	r.await("the request is closed as success", func() bool {
		return regexp.MustCompile(`"closed":true.*"outcome":"success"|"outcome":"success".*"closed":true`).MatchString(r.get("http://" + r.procore + "/sandbox/requests/" + request))
	})
	r.post("http://"+r.procore+"/sandbox/companies/"+rehearsedCompany+"/press/invented_type", `{"request_data":{}}`)
	deadLetters := ""
	r.await("the request of an unknown type is a dead letter", func() bool {
		time.Sleep(500 * time.Millisecond)
		r.stopServices()
		_, deadLetters = r.tieback("dead", "list", "-o", "json")
		if regexp.MustCompile(`"id": *"\d`).MatchString(deadLetters) {
			return true
		}
		r.serve()
		return false
	})
	values := map[string]string{
		"N": rehearsedCompany, "REQUEST": request, "4711": request, "CAUSE": "tieback", "LETTER": r.number(deadLetters, `"id": *"(\d+)`),
	}
	values["42"] = values["LETTER"]
	ran := map[string]bool{}
	for _, c := range commands(t) {
		args, ok := c.tiebackArgs()
		if !ok || !rehearsed(args) || args[0] == "run" || slices.Contains(args, "--client-id") {
			continue
		}
		args = slices.Clone(args)
		for i, a := range args {
			if v, ok := values[a]; ok {
				args[i] = v
			}
		}
		line := strings.Join(args, " ")
		if ran[line] {
			continue
		}
		ran[line] = true
		code, out := r.tieback(args...)
		if code != 0 && !(code == 1 && slices.Contains(reports, args[0])) || args[0] != "ledger" && out == "" {
			t.Errorf("%s: tieback %s: exit code %d\n%s", c.page, line, code, out)
		}
	}
	if len(ran) < 15 {
		t.Errorf("only %d commands ran", len(ran))
	}
}

// block runs the shell block.
func (r *rehearsal) block() {
	r.Helper()
	_, rest, ok := strings.Cut(pages(r.T)["docs/connect.md"], "<!-- run by TestTheRehearsal -->\n")
	m := shellBlock.FindStringSubmatch(rest)
	if !ok || m == nil {
		r.Fatal("docs/connect.md has no block for this test")
	}
	text := strings.NewReplacer("127.0.0.1:8081", r.procore, "127.0.0.1:8080", r.ingest).Replace(m[1])
	file, err := syntax.NewParser().Parse(strings.NewReader(text), "docs/connect.md")
	r.must(err)
	root, err := filepath.Abs(repository)
	r.must(err)
	dir := r.TempDir()
	for _, name := range []string{"deploy", "services"} {
		r.must(os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)))
	}
	for _, name := range []string{"TIEBACK_COMPANIES", "TIEBACK_DATA", "TIEBACK_PROCORE_API_URL", "TIEBACK_PROCORE_LOGIN_URL", "TIEBACK_NATS_URL", "TIEBACK_WEBHOOKS"} {
		r.Setenv(name, "") // restored when the test ends
	}
	r.Setenv("TIEBACK_INGEST_ADDR", r.ingest)
	r.Setenv("TIEBACK_ADMIN_ADDR", "127.0.0.1:0")
	r.Setenv("TIEBACK_CONSOLE_ADDR", "127.0.0.1:0")
	r.Setenv("TIEBACK_LOG_LEVEL", "error")
	runner, err := interp.New(interp.Dir(dir), interp.StdIO(nil, &r.out, &r.out), interp.Env(expand.ListEnviron("PATH="+os.Getenv("PATH"))), interp.ExecHandlers(r.exec))
	r.must(err)
	if err := runner.Run(r.ctx, file); err != nil {
		r.Fatalf("%v\n%s", err, r.out.String())
	}
}

// exec runs a program of the block.
func (r *rehearsal) exec(next interp.ExecHandlerFunc) interp.ExecHandlerFunc {
	return func(ctx context.Context, args []string) error {
		h := interp.HandlerCtx(ctx)
		switch {
		case args[0] == "bin/sandbox":
			env := map[string]string{
				"SANDBOX_ADDR": r.procore, "SANDBOX_HOURLY_LIMIT": "-1", "SANDBOX_SPIKE_LIMIT": "-1",
				"SANDBOX_COMPANIES": filepath.Join(h.Dir, h.Env.Get("SANDBOX_COMPANIES").String()),
			}
			r.running.Go(func() {
				if err := sandbox.Main(r.ctx, func(name string) string { return env[name] }); err != nil {
					r.Errorf("sandbox: %v", err)
				}
			})
			r.listens(r.procore)
			return nil
		case args[0] == "bin/tieback":
			h.Env.Each(func(name string, v expand.Variable) bool {
				if strings.HasPrefix(name, "TIEBACK_") {
					r.must(os.Setenv(name, v.String())) //nolint:usetesting // block has set it before
				}
				return true
			})
			if args[1] == "run" {
				r.serve()
				return nil
			}
			code, out := r.tieback(args[1:]...)
			fmt.Fprint(h.Stdout, out)
			return interp.ExitStatus(code)
		case args[0] == "curl" && len(args) == 4 && args[1] == "-X" && args[2] == "POST":
			fmt.Fprintln(h.Stdout, r.post(args[3], ""))
			return nil
		case args[0] == "go" && args[1] == "build": // the programs run in this process
			for _, folder := range args[4:] {
				if _, err := os.Stat(filepath.Join(h.Dir, folder)); err != nil {
					r.Error(err)
				}
			}
			return nil
		case args[0] == "sleep":
			return nil // exec waits until a program listens
		}
		return next(ctx, args)
	}
}

// serve starts tieback run, and waits until ingest answers.
func (r *rehearsal) serve() {
	ctx, stop := context.WithCancel(r.ctx)
	ended := make(chan struct{})
	r.running.Go(func() {
		defer close(ended)
		if code, out := r.tiebackIn(ctx, "run"); code != 0 {
			r.Errorf("tieback run: exit code %d\n%s", code, out)
		}
	})
	r.stop = func() { stop(); <-ended }
	r.listens(r.ingest)
}

func (r *rehearsal) listens(address string) {
	r.Helper()
	r.await(address+" is listened on", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (r *rehearsal) stopServices() {
	r.Helper()
	if r.stop != nil {
		r.stop()
	}
}

// tieback runs a command as main does, and returns its exit code and its output.
func (r *rehearsal) tieback(args ...string) (int, string) { return r.tiebackIn(r.ctx, args...) }

func (r *rehearsal) tiebackIn(ctx context.Context, args ...string) (int, string) {
	var out strings.Builder
	cmd := root()
	cmd.SetIn(strings.NewReader(""))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	code := codeOf(&out, cmd.ExecuteContext(ctx))
	return code, out.String()
}

func (r *rehearsal) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rehearsal) number(text, pattern string) string {
	r.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		r.Fatalf("%s is not in %s", pattern, text)
	}
	return m[1]
}

func (r *rehearsal) await(what string, done func() bool) {
	r.Helper()
	for end := time.Now().Add(3 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("after three minutes not true: %s\n%s", what, r.out.String())
		}
	}
}

func (r *rehearsal) get(url string) string {
	r.Helper()
	return r.body(http.Get(url)) //nolint:noctx // of this process
}

func (r *rehearsal) post(url, body string) string {
	r.Helper()
	return r.body(http.Post(url, "application/json", strings.NewReader(body))) //nolint:noctx // of this process
}

func (r *rehearsal) body(resp *http.Response, err error) string {
	r.Helper()
	r.must(err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	r.must(err)
	return string(raw)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
