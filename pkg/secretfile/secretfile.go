// Package secretfile reads the files that an operator gives: secrets, keys, the companies file.
package secretfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Most is how many bytes a file may have: the companies file of ten thousand companies has less.
const Most = 16 << 20

// What is wrong with a file. The errors of Read wrap them in a *fs.PathError.
var (
	ErrIrregular = errors.New("it is no regular file, so it can't be read again when it is rotated; give the path of one")
	ErrTooLarge  = fmt.Errorf("it is larger than %d MiB, which no secret is", Most>>20)
	ErrMarked    = errors.New("it begins with a byte order mark; save it as UTF-8 without one")
)

// Read reads a regular file of at most Most bytes. It does not wait for a writer of a pipe, and follows symbolic
// links, which Kubernetes makes. No error has the content.
func Read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: ErrIrregular}
	}
	raw, err := io.ReadAll(io.LimitReader(f, Most+1))
	if err == nil && len(raw) > Most {
		err = &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
	}
	if err != nil {
		return nil, err
	}
	return raw, nil
}

// Check is ErrMarked where a content begins with a byte order mark of UTF-8 or UTF-16: it would be a part of the secret.
func Check(raw []byte) error {
	for _, mark := range []string{"\xef\xbb\xbf", "\xfe\xff", "\xff\xfe"} {
		if bytes.HasPrefix(raw, []byte(mark)) {
			return ErrMarked
		}
	}
	return nil
}

// ReadSecret is Read and Check.
func ReadSecret(path string) ([]byte, error) {
	raw, err := Read(path)
	if err == nil {
		err = Check(raw)
	}
	if errors.Is(err, ErrMarked) {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return raw, err
}

// Exposed reports whether others than the file's owner and group may read it. A file that is not there is not exposed.
func Exposed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
