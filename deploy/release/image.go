package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the user and group of the images, as in deploy/docker/Dockerfile.
const user = 65532

// images writes an image layout for each binary in the folders, which have the binaries by architecture. An image needs no other
// image: it has the certificates of Mozilla's authorities, /tmp, the folders of the service, and the binary, which contains the time zones.
func (r *release) images(folders map[string]string) error {
	if len(folders) == 0 {
		return nil
	}
	architectures := slices.Sorted(maps.Keys(folders))
	entries, err := os.ReadDir(folders[architectures[0]])
	if err != nil {
		return err
	}
	var services []string
	for _, e := range entries {
		services = append(services, e.Name())
	}
	for _, service := range services {
		to, err := layout.Write(filepath.Join(r.out, "images", service), mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
		if err != nil {
			return err
		}
		for _, arch := range architectures {
			image, err := r.image(service, filepath.Join(folders[arch], service), arch, services)
			if err != nil {
				return err
			}
			if err := to.AppendImage(image, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: arch})); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *release) image(service, binary, arch string, services []string) (v1.Image, error) {
	raw, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	own := []file{{name: "data/", mode: 0o755, uid: user}}
	if service == "provisioner" { // a volume gets the owner of the folder where it is mounted
		for _, name := range slices.Sorted(slices.Values(append(slices.Clone(services), "", "../store", "../users", "../broker"))) {
			own = append(own, file{name: strings.TrimPrefix(filepath.ToSlash(filepath.Join("/keys", name)), "/") + "/", mode: 0o755, uid: user})
		}
	}
	image := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	for _, files := range [][]file{base(), own, {{name: "service", mode: 0o755, content: raw}}} {
		layer, err := r.layer(files)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "tieback release " + r.version}}); err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: r.time}
	config.Config = v1.Config{
		User:       "65532:65532",
		Env:        []string{"PATH=/", "TIEBACK_DATA=/data", "TIEBACK_ADMIN_ADDR=:9090"},
		Entrypoint: []string{"/service"},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title": "tieback-" + service, "org.opencontainers.image.version": r.version, "org.opencontainers.image.revision": r.commit,
			"org.opencontainers.image.source": "https://github.com/tieback/tieback",
		},
	}
	return mutate.ConfigFile(image, config)
}

// file is a file of a layer, or a folder if its name ends in a slash.
type file struct {
	name    string
	mode    int64
	uid     int
	content []byte
}

// base returns the files of every image. Roots whose use is limited are left out, because a file of certificates can't express it.
func base() []file {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer returns no error
		}
	}
	return []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{name: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: roots.Bytes()},
		{name: "tmp/", mode: 0o1777},
	}
}

func (r *release) layer(files []file) (v1.Layer, error) {
	var raw bytes.Buffer
	t := tar.NewWriter(&raw)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Uid: f.uid, Gid: f.uid, Size: int64(len(f.content)), ModTime: r.time}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
}
