package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// shown is a command that a page shows in a shell block.
type shown struct {
	page string
	args []string // the first is the program
}

func (c shown) String() string { return strings.Join(c.args, " ") }

// proof names the test or the script that executes the commands that match, other than TestTheRehearsal.
type proof struct {
	command string // a regular expression that matches the whole command
	file    string // of the repository; "": a Go test
	text    string // text that the file must contain; for a Go test its name
}

// proofs are tried in order. TestCommands fails for a proof that matches no command or whose executor does not exist.
var proofs = []proof{
	{`make run`, ".ci/run", "make run"},
	{`make run KEEP=1`, "", "TestDemoEndsWithLineOfREADME"},
	{`make run ERP=tryton`, ".ci/run", "make run ERP=tryton"},
	{`make run ERP=remote`, ".ci/run", "make run ERP=remote"},
	{`make test`, ".ci/run", "make test"},
	{`make check`, ".ci/run", "make check"},
	{`make chaos( SEEDS=50| FOR=1h| SEED=7)?`, ".ci/run", "make chaos SEEDS=2"},
	{`make rolling( OLD=auto)?`, ".ci/run", "make rolling"},
	{`make bench`, ".ci/run", "make bench"},
	{`make flood`, ".ci/run", "make flood FOR=5s"},
	{`make fuzz FUZZTIME=20000x`, ".ci/run", "make fuzz FUZZTIME=20000x"},
	{`make images VERSION=\S+( PLATFORM=linux/arm64)?`, ".ci/run", `make images VERSION="$TIEBACK_VERSION"`},
	{`make -C \.\./\.\./\.\. run ERP=remote ADDRESS=\S+`, "services/connectors/typescript/verify", "run ERP=remote ADDRESS="},
	{`make release(-check)? VERSION=1\.0\.0( KEY=\S+)?`, ".ci/run", "make release-check"},
	{`docker compose up( --build)? --wait`, ".ci/run", "docker compose up --build --wait"},
	{`docker compose down`, "deploy/compose/again", "docker compose down"},
	{`docker volume rm tieback_broker`, "deploy/compose/lose", `docker volume rm "$(project)_broker"`},
	{`docker compose up -d --wait nats`, "deploy/compose/lose", "docker compose up -d --wait nats"},
	{`docker compose up -d --force-recreate hand-out nats`, "deploy/compose/lose", "docker compose up -d --force-recreate hand-out nats"},
	{`docker compose up -d --wait`, "deploy/compose/lose", "docker compose up -d --wait\n"},
	{`docker compose run --rm keys keys --backup .*`, "deploy/compose/lose", "keys keys --backup --users /users/users.conf /store/keys"},
	{`docker compose run --rm --user=\S+ --volume=\S+ backup key .*`, "deploy/compose/lose", "backup key /identity/backup.key"},
	{`docker compose run --rm backup .*`, "deploy/compose/lose", "run backup /backups --recipient"},
	{`docker compose run --rm restore .*`, "deploy/compose/lose", "run restore /backups --identity /etc/tieback-backup/backup.key --keep-databases"},
	{`docker compose run --rm provisioner`, "deploy/compose/lose", "docker compose run --rm -T provisioner"},
	{`docker compose run --rm( --no-deps)? tieback .*`, "deploy/compose/common", "docker compose run --rm -T tieback"},
	{`docker compose exec ledger /service list vendor --company \d+`, "deploy/compose/common", "/service list vendor --company"},
	{`docker compose (ps|logs|exec) .*`, ".ci/run", "docker compose ps -a"}, // their services: TestComposeServices
	{`go run \./deploy/test/chaos --seeds 50 --parallel 4`, ".ci/run", "make chaos SEEDS=2"},
	{`make bench FULL=1|bin/tieback bench --recovery`, ".ci/run", "bin/tieback bench --recovery"},
	{`bin/tieback bench --scale --rounds 3 --events 6000`, ".ci/run", "bin/tieback bench --scale"},
	{`bin/tieback bench --backlog 100000`, ".ci/run", "bin/tieback bench --backlog"},
	{`bin/tieback bench --stored 1000,10000,100000`, ".ci/run", "bin/tieback bench --stored"},
	{`bin/tieback bench --quota`, ".ci/run", "bin/tieback bench --quota"},
	{`go run \./services/tieback bench --fair`, ".ci/run", "bench --fair"},
	{`go run \./services/tieback bench --viewers 50`, ".ci/run", "bench --viewers"},
	{`go test -run \^\$ -bench (Search|Rebuild) -benchtime \d+x \./services/console/index`, ".ci/run", "-bench 'Search|Rebuild'"},
	{`go run \./services/connectors/tryton/cmd/tryton-company run`, "", "TestConformance"},
	{`go test \./deploy/test/kubernetes`, ".ci/run", "make test"},
	{`bin/sandbox`, "", "TestTheRehearsal"},
	{`go build -o bin/ \./services/tieback \./services/sandbox/cmd/sandbox`, "Makefile", "go build"},
	{`go build -o \S+ \./services/tieback`, "Makefile", "deploy/build bin/tieback ./services/tieback"},
	{`promtool test rules deploy/prometheus/rules_test\.yaml deploy/prometheus/rules_days_test\.yaml deploy/prometheus/rules_namespace_test\.yaml`, "", "TestAlertsFireAndResolve"},

	{`make cluster( (LOAD|KEEP|FULL|OLD)=.+)*`, ".ci/run", "make cluster LOAD="},

	// CI installs local.yaml by deploy/kubernetes/try. The tests compare the names in these commands with the manifests and the scripts.
	{`kubectl .*`, "", "TestKubectlCommandsNameObjects"},
	{`(helm|kind) .*`, "", "TestManifestsDecode"},
	{`docker (tag|run|push) .*`, "", "TestImagesHaveOneVersion"},
	{`deploy/kubernetes/secrets (keys|-)( companies)?`, "", "TestReferences"},
	{`aws secretsmanager create-secret .*`, "", "TestSecretsScriptWritesEntries"}, // of the files that it uploads
	{`provisioner keys --(rotate|retire) keys`, "", "TestRotationKeepsKeysInUse"},

	{`apt-get install .*`, ".ci/run", "tryton-modules-analytic-purchase"},
	{`npm (ci|test|start|run build)`, "services/connectors/typescript/verify", "npm"},
	{`\./verify`, ".ci/run", "services/connectors/typescript/verify"},
	{`go test \./\.\.\.`, "", "TestNewBuildsAndPasses"}, // in the folder of a new connector
	{`\./acme`, "", "TestNewBuildsAndPasses"},

	{`tieback connector new .*`, "", "TestNewBuildsAndPasses"},
	{`tieback requests try \d+`, "", "TestTry"},
	{`tieback connector verify .*`, "", "TestRestartLeavesAProcessInTheBackground"},
	{`tieback dead (replay|edit|discard) .*`, "", "TestDeadCommandResolvesDeadLetters"},
	{`tieback setup .*--client .*`, "", "TestSetupMakesAClientAndUsesIt"},
	{`tieback setup .*--rotate-token.*`, "", "TestRotateTheTokenWithoutLosingAnEvent"},
	{`tieback setup .*--remove.*`, "deploy/compose/try", "tieback setup"},
	{`tieback backup key .*`, "", "TestBackupIsRestoredAsItWas"},
	{`tieback backup list .*`, "", "TestBackupIsRestoredAsItWas"},
	{`tieback backup (verify )?s3://.*`, "", "TestBackupToS3"},
	{`tieback restore s3://.*`, "", "TestBackupToS3"},
	{`tieback losses --accept .*`, "", "TestLossIsListedUntilAccepted"},
	{`tieback status -w`, "", "TestWatch"},
}

// standard are programs that every system has.
var standard = []string{"basename", "cat", "cd", "chmod", "curl", "cut", "echo", "grep", "id", "kill", "ls", "mkdir", "openssl", "printf", "sed", "sha256sum", "sleep", "sort", "source", "umask", "uniq"}

var shellBlock = regexp.MustCompile("(?ms)^[ \t]*```(?:sh|console|bash)\n(.*?)^[ \t]*```[ \t]*$")

// commands returns each command of the shell blocks of the pages. Variables and substitutions become 1.
func commands(t *testing.T) (all []shown) {
	t.Helper()
	one := &expand.Config{
		Env:       expand.FuncEnviron(func(string) string { return "1" }),
		CmdSubst:  func(w io.Writer, _ *syntax.CmdSubst) error { _, err := io.WriteString(w, "1"); return err },
		ProcSubst: func(*syntax.ProcSubst) (string, error) { return "1", nil },
	}
	for page, text := range pages(t) {
		for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
			file, err := syntax.NewParser().Parse(strings.NewReader(block[1]), page)
			if err != nil {
				t.Errorf("%s: a shell block does not parse: %v\n%s", page, err, block[1])
				continue
			}
			syntax.Walk(file, func(n syntax.Node) bool {
				call, ok := n.(*syntax.CallExpr)
				if !ok || len(call.Args) == 0 {
					return true
				}
				c := shown{page: page}
				for _, word := range call.Args {
					text, err := expand.Literal(one, word)
					if err != nil {
						t.Errorf("%s: %v", page, err)
					}
					c.args = append(c.args, text)
				}
				all = append(all, c)
				return true
			})
		}
	}
	slices.SortFunc(all, func(a, b shown) int {
		return cmp.Or(strings.Compare(a.String(), b.String()), strings.Compare(a.page, b.page))
	})
	return all
}

// tiebackArgs returns the arguments of tieback, if the command runs it in one of the documented ways.
func (c shown) tiebackArgs() ([]string, bool) {
	for _, prefix := range []string{"tieback", "bin/tieback", "deploy/kubernetes/tieback", "go run ./services/tieback",
		"docker compose run --rm tieback", "docker compose run --rm --no-deps tieback"} {
		if words := strings.Fields(prefix); len(c.args) > len(words) && slices.Equal(c.args[:len(words)], words) {
			return c.args[len(words):], true
		}
	}
	if c.args[0] == "setup" && c.page == "deploy/kubernetes/README.md" { // a shell function of that page
		return append([]string{"setup", "--company", rehearsedCompany}, c.args[1:]...), true
	}
	return nil, false
}

// placeholder matches a word in capitals that the reader replaces.
var placeholder = regexp.MustCompile(`^[A-Z][A-Z_]+$|^N$`)

// accepts returns an error if tieback does not have the command with these flags. Placeholders are values. If complete is set, the
// required arguments and flags must be given.
func accepts(args []string, complete bool) error {
	args = slices.Clone(args)
	for i, a := range args {
		if placeholder.MatchString(a) {
			args[i] = "1"
		}
	}
	cmd := root()
	cmd.InitDefaultCompletionCmd(args...)
	found, rest, err := cmd.Find(args)
	switch {
	case err != nil:
		return err
	case found == cmd:
		return fmt.Errorf("tieback has no command %q", args)
	case found.DisableFlagParsing: // the command parses its flags when it runs
		return nil
	}
	found.InitDefaultHelpFlag()
	if err := found.ParseFlags(rest); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if help, err := found.Flags().GetBool("help"); !complete || err == nil && help {
		return nil
	}
	if !found.Runnable() {
		return fmt.Errorf("tieback %s needs a subcommand", found.Name())
	}
	return errors.Join(found.ValidateArgs(found.Flags().Args()), found.ValidateRequiredFlags(), found.ValidateFlagGroups())
}

// TestCommands checks that something executes each command of the pages' shell blocks: TestTheRehearsal, a test, or the CI
// script. It also checks that tieback has the commands and flags, and that the paths exist.
func TestCommands(t *testing.T) {
	all := commands(t)
	if len(all) < 150 {
		t.Errorf("only %d commands found", len(all))
	}
	used := map[string]bool{}
	for _, c := range all {
		c.checkPaths(t)
		line := c.String()
		if args, ok := c.tiebackArgs(); ok {
			if err := accepts(args, true); err != nil {
				t.Errorf("%s: %s: %v", c.page, c, err)
			}
			line = "tieback " + strings.Join(args, " ")
			if rehearsed(args) {
				continue
			}
		}
		if slices.Contains(standard, c.args[0]) {
			continue
		}
		i := slices.IndexFunc(proofs, func(p proof) bool {
			whole := regexp.MustCompile(`\A(?:` + p.command + `)\z`)
			return whole.MatchString(c.String()) || whole.MatchString(line)
		})
		if i < 0 {
			t.Errorf("%s: nothing executes %s: make TestTheRehearsal run it, or name a test in proofs", c.page, c)
			continue
		}
		used[proofs[i].command] = true
	}
	for _, p := range proofs {
		if !used[p.command] {
			t.Errorf("no page shows a command that matches %s: remove its row", p.command)
		}
		p.check(t)
	}
}

// check checks that the executor exists.
func (p proof) check(t *testing.T) {
	if p.file == "" {
		if !tests(t)[p.text] {
			t.Errorf("%s is to be executed by the test %s, which does not exist", p.command, p.text)
		}
		return
	}
	text, err := os.ReadFile(filepath.Join(repository, p.file))
	if err != nil || !strings.Contains(string(text), p.text) {
		t.Errorf("%s is to be executed by %s, which does not contain %q: %v", p.command, p.file, p.text, err)
	}
}

// checkPaths checks that the arguments that are paths from the repository's root exist.
func (c shown) checkPaths(t *testing.T) {
	for _, a := range c.args {
		path := strings.TrimPrefix(a, "./")
		if !regexp.MustCompile(`^(deploy|docs|pkg|proto|services)/`).MatchString(path) {
			continue
		}
		if _, err := os.Stat(filepath.Join(repository, path)); err != nil {
			t.Errorf("%s: %s: %v", c.page, c, err)
		}
	}
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// tests returns the names of all tests of the repository.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, text := range files(t, "_test.go") {
		for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
			all[m[1]] = true
		}
	}
	return all
}

// TestCommandsInText checks the commands of tieback in the text of the pages, outside of shell blocks.
func TestCommandsInText(t *testing.T) {
	seen := 0
	for page, text := range pages(t) {
		for _, span := range codeSpan.FindAllString(fence.ReplaceAllString(text, ""), -1) {
			line, ok := strings.CutPrefix(strings.Trim(span, "`"), "tieback ")
			if !ok || strings.ContainsAny(line, "…|[<") || strings.HasPrefix(line, "COMMAND") {
				continue
			}
			seen++
			if err := accepts(strings.Fields(line), false); err != nil {
				t.Errorf("%s: `tieback %s`: %v", page, line, err)
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d commands found", seen)
	}
}

// TestComposeServices checks that docker-compose.yml has the services that the commands name.
func TestComposeServices(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(repository, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]any `yaml:"services"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, c := range commands(t) {
		line, ok := strings.CutPrefix(c.String(), "docker compose ")
		if !ok {
			continue
		}
		words := strings.Fields(regexp.MustCompile(`--(since|tail) \S+|--\S+|-\w\b`).ReplaceAllString(line, ""))
		if len(words) < 2 || words[0] == "up" || words[0] == "down" {
			continue
		}
		seen++
		if file.Services[words[1]] == nil && words[1] != "SERVICE" && words[1] != "CONSUMER" {
			t.Errorf("%s: %s: docker-compose.yml has no service %s", c.page, c, words[1])
		}
	}
	if seen < 15 {
		t.Errorf("only %d found", seen)
	}
}
