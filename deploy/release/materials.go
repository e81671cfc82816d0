package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// materials writes the bill of materials of the binaries in dir: each binary with its checksum and the modules that it consists of,
// as the Go linker recorded them. It has no serial number and no time, so that equal binaries give equal files.
func (r *release) materials(dir, system, arch string, entries []os.DirEntry) error {
	var binaries []cdx.Component
	var depends []cdx.Dependency
	modules := map[string]cdx.Component{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return err
		}
		sum, err := sumOf(path)
		if err != nil {
			return err
		}
		std := "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")
		modules[std] = cdx.Component{BOMRef: std, Type: cdx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion, PackageURL: std}
		of := []string{std}
		for _, m := range info.Deps {
			if strings.HasPrefix(m.Path, "github.com/tieback/tieback") {
				continue // a part of the binary, with its version
			}
			if m.Replace != nil {
				m = m.Replace
			}
			purl := "pkg:golang/" + m.Path + "@" + m.Version
			modules[purl] = cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl}
			of = append(of, purl)
		}
		slices.Sort(of)
		binaries = append(binaries, cdx.Component{
			BOMRef: e.Name(), Type: cdx.ComponentTypeApplication, Name: e.Name(), Version: r.version, Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
		})
		depends = append(depends, cdx.Dependency{Ref: e.Name(), Dependencies: &of})
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: "release", Type: cdx.ComponentTypeApplication, Name: "tieback", Version: r.version,
		Properties: &[]cdx.Property{{Name: "tieback:system", Value: system + "/" + arch}, {Name: "tieback:commit", Value: r.commit}},
	}}
	libraries := slices.SortedFunc(maps.Values(modules), func(a, b cdx.Component) int { return cmp.Compare(a.BOMRef, b.BOMRef) })
	all := append(binaries, libraries...)
	bom.Components, bom.Dependencies = &all, &depends
	f, err := os.Create(filepath.Join(r.out, r.name(system, arch)+".cdx.json"))
	if err != nil {
		return err
	}
	return errors.Join(cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom), f.Close())
}

// sumOf returns the SHA-256 checksum of a file in hexadecimal digits.
func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}
