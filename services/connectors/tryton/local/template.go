//go:build unix

package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tieback/tieback/services/connectors/tryton"
)

// fromTemplate copies the template's database cluster to a folder.
func fromTemplate(ctx context.Context, to string) error {
	from, err := template(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return command(ctx, nil, nil, "cp", "-a", from, to)
}

// template returns the folder of the cluster with a new company. It is made from a base, Tryton with its own
// modules, which takes most of the time. The folder names contain the versions, so that another module or
// Tryton makes new ones. One process builds at a time.
func template(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "tieback")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "tryton.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	base := filepath.Join(cache, "tryton-base-"+versions(ctx))
	if err := buildOnce(ctx, base, (*Server).buildBase); err != nil {
		return "", err
	}
	done := filepath.Join(cache, "tryton-"+versions(ctx)+"-"+tryton.ModuleHash())
	removeOld(cache, done)
	return done, buildOnce(ctx, done, func(s *Server, ctx context.Context) error { return s.buildCompany(ctx, base) })
}

// removeOld removes templates of older modules an hour after they were made, when no process copies them any
// more.
func removeOld(cache, except string) {
	old, _ := filepath.Glob(filepath.Join(cache, "tryton-*-*"))
	for _, dir := range old {
		at, err := os.Stat(dir)
		if err == nil && dir != except && !strings.Contains(dir, "tryton-base-") && time.Since(at.ModTime()) > time.Hour {
			_ = os.RemoveAll(dir)
		}
	}
}

func versions(ctx context.Context) string {
	h := sha256.New()
	for _, program := range []string{find("trytond"), postgres("postgres")} {
		version, _ := exec.CommandContext(ctx, program, "--version").CombinedOutput()
		h.Write(version)
	}
	return hex.EncodeToString(h.Sum(nil)[:4])
}

// buildOnce builds a cluster in a folder that postgres can access, unless it exists.
func buildOnce(ctx context.Context, done string, build func(*Server, context.Context) error) error {
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	dir, err := os.MkdirTemp("", "tieback-tryton-template-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	s := &Server{dir: dir}
	if err := errors.Join(build(s, ctx), s.Close()); err != nil {
		return fmt.Errorf("build the Tryton template: %w", err)
	}
	if err := command(ctx, nil, nil, "cp", "-a", s.data(), done+".new"); err != nil {
		return err
	}
	return os.Rename(done+".new", done)
}

func (s *Server) buildBase(ctx context.Context) error {
	if err := s.initdb(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "password"), []byte(Password+"\n"), 0o600); err != nil {
		return err
	}
	if err := s.startPostgres(ctx); err != nil {
		return err
	}
	err := command(ctx, nil, nil, postgres("createdb"), "-h", "127.0.0.1", "-p", strconv.Itoa(s.pgPort), "-U", "tieback", "-T", "template0", "-E", "UTF8", Database)
	if err != nil {
		return err
	}
	if err := s.admin(ctx, "--all", "--email", "admin@example.com"); err != nil {
		return err
	}
	return s.activate(ctx, tryton.Modules[:len(tryton.Modules)-1])
}

func (s *Server) buildCompany(ctx context.Context, base string) error {
	if err := command(ctx, nil, nil, "cp", "-a", base, s.data()); err != nil {
		return err
	}
	if err := tryton.WriteModule(filepath.Join(s.dir, "module")); err != nil {
		return err
	}
	if err := s.startPostgres(ctx); err != nil {
		return err
	}
	if err := s.activate(ctx, tryton.Modules[len(tryton.Modules)-1:]); err != nil {
		return err
	}
	if err := s.startTrytond(ctx); err != nil {
		return err
	}
	return tryton.SetUp(ctx, s.Settings(), Company, Currency)
}

func (s *Server) activate(ctx context.Context, modules []string) error {
	return s.admin(ctx, append(append([]string{"-u"}, modules...), "--activate-dependencies")...)
}

func (s *Server) admin(ctx context.Context, args ...string) error {
	conf, err := s.configure()
	if err != nil {
		return err
	}
	return command(ctx, nil, s.env(), append([]string{find("trytond-admin"), "-c", conf, "-d", Database}, args...)...)
}

func (s *Server) initdb(ctx context.Context) error {
	as, err := asPostgres()
	if err != nil {
		return err
	}
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		return err
	}
	if as.Credential != nil {
		if err := os.Chown(s.data(), int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
			return err
		}
	}
	return command(ctx, as, nil, postgres("initdb"), "-D", s.data(), "-U", "tieback", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
}

// command runs a program and waits for it. The error has its output.
func command(ctx context.Context, as *syscall.SysProcAttr, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr, cmd.Env = as, env
	if as != nil {
		cmd.Dir = "/"
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(output))
		return fmt.Errorf("%s: %w: %s", filepath.Base(args[0]), err, text[max(0, len(text)-2000):])
	}
	return nil
}
