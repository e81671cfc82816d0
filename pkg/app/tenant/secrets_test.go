package tenant

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/settings"
)

// A secret file that every user can read is used, with a warning.
func TestExposedSecretsAreLogged(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open, hidden := write("open", "s3cr3t-s3cr3t-s3cr3t", 0o644), write("hidden", "s3cr3t-s3cr3t-s3cr3t", 0o440)
	file := write("companies.yaml", "companies: [{id: 7, client_id: c, client_secret_file: "+open+", webhook_tokens_file: "+hidden+", connector: {driver: x}}]", 0o640)
	core, logs := observer.New(zap.WarnLevel)
	a := &App{App: &app.App{Settings: settings.Settings{Companies: file, NATSNKeyFile: write("key", "SU", 0o604)}, Log: zap.New(core)}}
	a.warnOfExposedFiles()
	var warned []string
	for _, line := range logs.All() {
		warned = append(warned, fmt.Sprint(line.ContextMap()["file"]))
	}
	if want := []string{open, a.Settings.NATSNKeyFile}; !slices.Equal(warned, want) {
		t.Errorf("warned of %v, want %v", warned, want)
	}
}
