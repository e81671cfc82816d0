// Package secretfile reads files that an operator provides: secrets, keys, and the companies file.
package secretfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// MaxSize is the largest size of a file in bytes. The companies file of ten thousand companies is smaller.
const MaxSize = 16 << 20

// Errors of Read and ReadSecret, wrapped in a *fs.PathError.
var (
	ErrIrregular = errors.New("not a regular file, so it can't be read again after a rotation; give the path of a regular file")
	ErrTooLarge  = fmt.Errorf("larger than %d MiB; is it the right file?", MaxSize>>20)
	ErrMarked    = errors.New("starts with a byte order mark; save it as UTF-8 without one")
)

// Read reads a regular file of at most MaxSize bytes. It follows symbolic links, which Kubernetes uses, and does not block
// on a pipe. Its errors never contain the content.
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
	raw, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(raw) > MaxSize {
		err = &fs.PathError{Op: "read", Path: path, Err: ErrTooLarge}
	}
	if err != nil {
		return nil, err
	}
	return raw, nil
}

// Check returns ErrMarked if raw starts with a byte order mark of UTF-8 or UTF-16, which would become part of the secret.
func Check(raw []byte) error {
	for _, mark := range []string{"\xef\xbb\xbf", "\xfe\xff", "\xff\xfe"} {
		if bytes.HasPrefix(raw, []byte(mark)) {
			return ErrMarked
		}
	}
	return nil
}

// ReadSecret reads a file like Read and checks it like Check.
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

// Exposed reports whether users other than the file's owner and group may read it. It returns false if the file does not
// exist, and on Windows, where the mode says nothing about other users.
func Exposed(path string) bool {
	info, err := os.Stat(path)
	return err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0
}
