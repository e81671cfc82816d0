package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
)

// htmx 2.0.11 is dist/htmx.min.js of the npm package htmx.org (npm pack htmx.org@2.0.11), unchanged. Its licence (0BSD) is
// beside it. A test compares its checksum:
const htmxSHA256 = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"

//go:embed static/*
var files embed.FS

// file is a static file.
type file struct {
	raw, zipped []byte
	hash, kind  string
}

// assets are the static files by name, for example console.css.
var assets = load()

func load() map[string]file {
	all := map[string]file{}
	entries, err := fs.ReadDir(files, "static")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		raw, err := files.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		var zipped bytes.Buffer
		z, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
		_, _ = z.Write(raw) // to memory
		_ = z.Close()
		sum := sha256.Sum256(raw)
		all[e.Name()] = file{raw, zipped.Bytes(), hex.EncodeToString(sum[:6]), mime.TypeByExtension(path.Ext(e.Name()))}
	}
	return all
}

// asset returns the URL of a static file. It has the hash of the content, so that it can be cached forever.
func asset(name string) string { return "/static/" + assets[name].hash + "/" + name }

// static serves /static/HASH/NAME, which never changes, and /static/NAME, which is validated each time.
func static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hash, name, hashed := strings.Cut(strings.TrimPrefix(r.URL.Path, "/static/"), "/")
		if !hashed {
			hash, name = "", hash
		}
		f, ok := assets[name]
		if !ok || hashed && hash != f.hash {
			http.Error(w, "there is no such file", http.StatusNotFound)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.kind)
		h.Set("ETag", `"`+f.hash+`"`)
		h.Set("Vary", "Accept-Encoding")
		h.Set("Cache-Control", "no-cache")
		if hashed {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		if r.Header.Get("If-None-Match") == `"`+f.hash+`"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		body := f.raw
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			body = f.zipped
		}
		_, _ = w.Write(body)
	})
}
