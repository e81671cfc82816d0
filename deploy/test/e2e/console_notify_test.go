package endtoend

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The console notifies the receiver of a company of its dead letter, with a link to the page, and of a receiver of another company
// nothing. A receiver that is added to the file gets what still needs attention.
func TestConsoleNotifies(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string][]string{} // bodies by path
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] = append(got[r.URL.Path], string(body))
	}))
	t.Cleanup(receiver.Close)
	w := newWorld(t, setup{deadline: time.Second, companies: 2})
	dir := t.TempDir()
	var config strings.Builder
	config.WriteString("console_url: https://console.example.com\nwait: 1s\nevery: 1s\nreceivers:\n")
	add := func(name string, company int64) {
		url := filepath.Join(dir, name)
		w.must(os.WriteFile(url, []byte(receiver.URL+"/"+name), 0o600))
		fmt.Fprintf(&config, "  - {name: %s, sends: [attention], companies: [%d], webhook: {url_file: %s}}\n", name, company, url)
		w.must(os.WriteFile(filepath.Join(dir, "notify.yaml"), []byte(config.String()), 0o600))
	}
	add("first", firstCompany)
	add("second", firstCompany+1)
	down := w.down()
	l := w.run()
	l.Settings.ConsoleNotify = filepath.Join(dir, "notify.yaml")
	l.console()
	down.Store(true)
	w.wait(w.pressIn(firstCompany, "create_vendor", w.vendor(4716, "Alpha")))
	receives := func(name string) {
		t.Helper()
		w.eventually(func() string {
			mu.Lock()
			defer mu.Unlock()
			all := strings.Join(got["/"+name], "\n")
			if !strings.Contains(all, "unresolved dead letter") || !strings.Contains(all, fmt.Sprintf("https://console.example.com/dead?company=%d", firstCompany)) || strings.Contains(all, "tieback dead") {
				return fmt.Sprintf("%s got %s", name, all)
			}
			return ""
		})
	}
	receives("first")
	add("third", firstCompany)
	receives("third")
	mu.Lock()
	defer mu.Unlock()
	if len(got["/second"]) > 0 {
		t.Errorf("the receiver of another company got %s", got["/second"])
	}
}
