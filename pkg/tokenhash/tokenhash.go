// Package tokenhash hashes webhook tokens, and reads and watches the file with the hashes of each company's tokens. `tieback
// setup` and `tieback webhooks` derive the file from the companies file. ingest, the service that is reachable from the internet,
// reads only this file, and so has no token, client secret or ERP credential.
//
//	{"companies": [{"id": "598134325841112", "token_sha256": ["9f86d0…"]}]}
package tokenhash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/secretfile"
)

// Hash is the SHA-256 of a token.
type Hash [sha256.Size]byte

// Of returns the hash of a token.
func Of(token string) Hash { return sha256.Sum256([]byte(token)) }

// Hashes are the hashes of each company's tokens: one, or two during a rotation.
type Hashes map[int64][]Hash

// Authentic reports whether token is one of the company's. It takes the same time for an unknown company.
func (h Hashes) Authentic(company int64, token string) bool {
	return Match(h[company], token)
}

// Match reports whether token has one of the hashes, of which there are at most two, in constant time.
func Match(hashes []Hash, token string) bool {
	hash := Of(token)
	want := make([]Hash, 2)
	known := copy(want, hashes)
	ok := 0
	for i := range want {
		ok |= subtle.ConstantTimeCompare(hash[:], want[i][:]) & subtle.ConstantTimeLessOrEq(i+1, known)
	}
	return ok == 1
}

// File is a file of hashes that is read again while the process runs. All methods may be called concurrently.
type File struct {
	path   string
	log    *zap.Logger
	hashes atomic.Pointer[Hashes]
}

// Open reads the file. An error in it names the field.
func Open(path string, log *zap.Logger) (*File, error) {
	t := &File{path: path, log: log}
	h, err := Read(path)
	if err != nil {
		return nil, err
	}
	t.hashes.Store(&h)
	return t, nil
}

// Authentic reports whether token is one of a company's webhook tokens.
func (t *File) Authentic(company int64, token string) bool {
	return t.hashes.Load().Authentic(company, token)
}

// Companies returns the number of companies.
func (t *File) Companies() int { return len(*t.hashes.Load()) }

// Watch reads the file at intervals until ctx ends, and applies changes, including new companies. A change is applied once two
// consecutive reads return the same content. An invalid file is logged once and changes nothing.
func (t *File) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last, checked []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		raw, err := secretfile.Read(t.path)
		if err != nil {
			raw = []byte(err.Error())
		}
		stable := bytes.Equal(raw, last)
		if last = raw; !stable || bytes.Equal(raw, checked) {
			continue
		}
		checked = raw
		h, err := Read(t.path)
		if err != nil {
			t.log.Error("the changed file of webhook token hashes is invalid and not used: correct it, or run `tieback webhooks`", zap.Error(err))
			continue
		}
		t.hashes.Store(&h)
		t.log.Info("webhook token hashes applied", zap.Int("companies", len(h)))
	}
}

// content is the JSON of the file.
type content struct {
	Companies []entry `json:"companies"`
}

type entry struct {
	ID     string   `json:"id"`
	Hashes []string `json:"token_sha256"`
}

// Read reads a file of hashes.
func Read(path string) (Hashes, error) {
	raw, err := secretfile.Read(path)
	if err != nil {
		return nil, err
	}
	var f content
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := Hashes{}
	for i, c := range f.Companies {
		id, err := strconv.ParseInt(c.ID, 10, 64)
		if err != nil || id <= 0 {
			return nil, fmt.Errorf("%s: companies[%d].id: %.40q is not a company id", path, i, c.ID)
		}
		if all[id] != nil || len(c.Hashes) < 1 || len(c.Hashes) > 2 {
			return nil, fmt.Errorf("%s: company %d: want one entry with one or two hashes", path, id)
		}
		for _, text := range c.Hashes {
			raw, err := hex.DecodeString(text)
			if err != nil || len(raw) != sha256.Size {
				return nil, fmt.Errorf("%s: company %d: token_sha256: %.10q… is not a SHA-256 in hex", path, id, text)
			}
			all[id] = append(all[id], Hash(raw))
		}
	}
	return all, nil
}

// ReadOrNone reads a file like Read, but returns no companies if it does not exist.
func ReadOrNone(path string) (Hashes, error) {
	h, err := Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Hashes{}, nil
	}
	return h, err
}

// Text returns the content of the file, sorted by company id.
func (h Hashes) Text() ([]byte, error) {
	f := content{Companies: []entry{}}
	for _, id := range slices.Sorted(maps.Keys(h)) {
		e := entry{ID: strconv.FormatInt(id, 10)}
		for _, hash := range h[id] {
			e.Hashes = append(e.Hashes, hex.EncodeToString(hash[:]))
		}
		f.Companies = append(f.Companies, e)
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	return append(raw, '\n'), err
}
