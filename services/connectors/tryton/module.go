package tryton

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
)

// module has the files of our Tryton module.
//
//go:embed module/tieback/*.py module/tieback/*.cfg module/tieback/*.xml setup.go
var module embed.FS

// WriteModule writes the module below a folder, for a trytond with that folder in its PYTHONPATH. In a
// permanent installation, run pip install module/tieback instead.
func WriteModule(folder string) error {
	info := filepath.Join(folder, "trytond_tieback-6.0.0.egg-info")
	into := filepath.Join(folder, "trytond", "modules", "tieback")
	for _, d := range []string{info, into} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"entry_points.txt": "[trytond.modules]\ntieback = trytond.modules.tieback\n",
		"PKG-INFO":         "Metadata-Version: 1.0\nName: trytond-tieback\nVersion: 6.0.0\n",
	} {
		if err := os.WriteFile(filepath.Join(info, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return eachFile(func(name string, raw []byte) error {
		if filepath.Dir(name) == "." {
			return nil
		}
		return os.WriteFile(filepath.Join(into, filepath.Base(name)), raw, 0o644)
	})
}

// ModuleHash returns a hash of the module and of SetUp.
func ModuleHash() string {
	h := sha256.New()
	_ = eachFile(func(name string, raw []byte) error {
		h.Write([]byte(name))
		h.Write(raw)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func eachFile(do func(name string, raw []byte) error) error {
	return fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := module.ReadFile(name)
		if err != nil {
			return err
		}
		return do(name, raw)
	})
}
