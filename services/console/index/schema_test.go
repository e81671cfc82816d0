package index

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/request"
)

// version2 returns a file that version 2 has written: all histories, in their order.
func version2(t *testing.T) string {
	t.Helper()
	packed, err := os.Open("testdata/version2.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close() //nolint:errcheck // only read
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "index.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ended checks that an index has those histories that time does not change.
func ended(t *testing.T, x *Index) {
	t.Helper()
	for i, h := range histories {
		if h.class == request.InProgress {
			continue
		}
		id := int64(i + 1)
		if e, err := x.Get(t.Context(), 7, id); err != nil || e.State != h.state || e.Class != h.class {
			t.Errorf("%s: %v; state %s, class %s, want %s, %s", h.name, err, e.State, e.Class, h.state, h.class)
		}
		for _, text := range []string{"alpha cafe", "al", "35", fmt.Sprint(100 + id)} {
			page, err := x.Search(t.Context(), Query{Text: text + fmt.Sprint(" ", id), Companies: []int64{7}, States: []State{h.state}})
			if err != nil || len(page.Rows) == 0 {
				t.Errorf("%s is not found by %q: %v", h.name, text, err)
			}
		}
	}
	counts, err := x.Counts(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, of := range counts.States[7] {
		n += of
	}
	if n != int64(len(histories)) {
		t.Errorf("%d requests are counted, want %d", n, len(histories))
	}
}

// The requests of a file of an older version, which the streams do not have any more, outlive the change of the version. The
// streams are read on, and a new message of an old request joins the others.
func TestHistoryOutlivesANewVersion(t *testing.T) {
	b := bustest.Connect(t) // it has none of the file's messages
	path := version2(t)
	x := open(t, path, options())
	ended(t, x)
	follow(t, x, b)
	ended(t, x)
	a := &author{TB: t, bus: b, request: 2} // refused, and clicked again
	a.clicked(true)
	a.ended("", a.closed(success, ""))
	follow(t, x, b)
	if e, err := x.Get(t.Context(), 7, 2); err != nil || e.State != StateOK || len(e.Messages) != 8 {
		t.Errorf("after a new message: %v; %d messages, %+v", err, len(e.Messages), e.Row)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(path + ".2*"); err != nil || left != nil {
		t.Errorf("moved aside: %v %v", left, err)
	}
}

// After a change of the words, those of all requests are derived from the file.
func TestWordsAreIndexedAgain(t *testing.T) {
	for name, spoil := range map[string]string{
		"other words":              "UPDATE searchable SET words = 0",
		"interrupted at the end":   "UPDATE searchable SET upto = (SELECT id FROM requests ORDER BY id LIMIT 1 OFFSET 5); DELETE FROM search WHERE rowid > (SELECT upto FROM searchable)",
		"interrupted at the start": "UPDATE searchable SET upto = -1; DELETE FROM search",
	} {
		t.Run(name, func(t *testing.T) {
			path := version2(t)
			x := open(t, path, options())
			if _, err := x.write.Exec(spoil); err != nil {
				t.Fatal(err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			var said []error
			o := options()
			o.Waiting = func(why error) { said = append(said, why) }
			x = open(t, path, o)
			ended(t, x)
			if len(said) < 2 || said[0] == nil || said[len(said)-1] != nil {
				t.Errorf("the reasons to wait were %v", said)
			}
			page, err := x.Search(t.Context(), Query{Text: "vendor"})
			if err != nil || len(page.Rows) != len(histories)-1 {
				t.Errorf("%d requests have the word, want %d: %v", len(page.Rows), len(histories)-1, err)
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			said = nil
			open(t, path, o)
			if said != nil {
				t.Errorf("opened again, it waits: %v", said)
			}
		})
	}
}

// A file that can't be used is kept beside the new one.
func TestUnusableFileIsMovedAside(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, string){
		"corrupt": func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a newer version":   func(t *testing.T, path string) { setVersion(t, path, version+1) },
		"a too old version": func(t *testing.T, path string) { setVersion(t, path, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			path := version2(t)
			spoil(t, path)
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			core, logs := observer.New(zap.ErrorLevel)
			o := options()
			o.Log = zap.New(core)
			x := open(t, path, o)
			if page, err := x.Search(t.Context(), Query{}); err != nil || len(page.Rows) != 0 {
				t.Errorf("the new file has %d requests: %v", len(page.Rows), err)
			}
			if logs.Len() != 1 {
				t.Fatalf("the log is %v", logs.All())
			}
			aside, _ := logs.All()[0].ContextMap()["moved to"].(string)
			if is, err := os.ReadFile(aside); err != nil || !bytes.Equal(is, was) {
				t.Errorf("the old file is not at %q as it was: %v", aside, err)
			}
		})
	}
}

func setVersion(t *testing.T, path string, version int) {
	t.Helper()
	db, err := openDB(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
