package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// check builds the release twice and compares the files. The second build is that of a copy of the tree in another folder, with an empty
// build cache, so that neither paths nor earlier builds can hide a difference.
func (r *release) check(ctx context.Context) error {
	if err := r.build(ctx); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "tieback-again-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	again := *r
	again.root, again.out, again.cache = filepath.Join(work, "tree"), filepath.Join(work, "out"), filepath.Join(work, "cache")
	if err := r.copy(ctx, again.root); err != nil {
		return err
	}
	r.log("building again, in another folder with an empty cache")
	if err := again.build(ctx); err != nil {
		return err
	}
	if err := compare(r.out, again.out); err != nil {
		return err
	}
	r.log("both builds are the same, in all files of %s", r.out)
	return nil
}

// copy copies the files of the tree that git knows, and new ones that it does not ignore.
func (r *release) copy(ctx context.Context, to string) error {
	names, err := git(ctx, r.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.Trim(names, "\x00"), "\x00") {
		if err := copyFile(filepath.Join(r.root, name), filepath.Join(to, name)); err != nil && !errors.Is(err, os.ErrNotExist) { // deleted, and not committed
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return errors.Join(err, out.Close())
}

// compare returns an error that names each file that differs between two folders, or is in one only.
func compare(a, b string) error {
	sums := map[string][2]string{}
	for i, dir := range []string{a, b} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			both := sums[name]
			both[i], err = sumOf(path)
			sums[name] = both
			return err
		})
		if err != nil {
			return err
		}
	}
	var errs []error
	for name, both := range sums {
		if both[0] != both[1] {
			errs = append(errs, fmt.Errorf("%s differs between the two builds: %q, %q", name, both[0], both[1]))
		}
	}
	return errors.Join(errs...)
}
