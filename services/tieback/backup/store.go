package backup

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/tieback/tieback/pkg/localfile"
	"github.com/tieback/tieback/pkg/secretfile"
)

// store is where backups are kept: a folder, or a bucket of an S3-compatible storage. Names are slash-separated.
type store interface {
	// write stores what r has. It must not be visible under its name before it is complete and on disk.
	write(ctx context.Context, name string, r io.Reader) error
	// read opens a stored file; a missing one is fs.ErrNotExist.
	read(ctx context.Context, name string) (io.ReadCloser, error)
	// backups returns the ids of the finished backups, the oldest first.
	backups(ctx context.Context) ([]string, error)
	String() string
}

// open returns the store at a location: a folder, or s3://bucket/prefix?endpoint=https://host:9000&region=R&ca_file=FILE.
// Without an endpoint it is AWS; ca_file has the certificate authorities of the endpoint, without it those of the system. The credentials of S3 come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from the file
// ~/.aws/credentials, or from the role of the machine or the pod.
func open(location string) (store, error) {
	if !strings.Contains(location, "://") {
		if location == "" {
			return nil, errors.New("the location is empty: give a folder, or s3://bucket/prefix")
		}
		return folder(location), nil
	}
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "s3" || u.Host == "" {
		return nil, fmt.Errorf("%q is no location: give a folder, or s3://bucket/prefix?endpoint=https://host:9000", location)
	}
	q := u.Query()
	for name := range q {
		if name != "endpoint" && name != "region" && name != "ca_file" {
			return nil, fmt.Errorf("%s: unknown parameter %q: there are endpoint, region and ca_file", location, name)
		}
	}
	endpoint := &url.URL{Scheme: "https", Host: "s3.amazonaws.com"}
	if text := q.Get("endpoint"); text != "" {
		if endpoint, err = url.Parse(text); err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" {
			return nil, fmt.Errorf("%s: endpoint=%s: give a URL such as https://host:9000", location, text)
		}
	}
	transport, err := transportOf(q.Get("ca_file"))
	if err != nil {
		return nil, fmt.Errorf("%s: ca_file: %w", location, err)
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Secure: endpoint.Scheme == "https", Region: q.Get("region"), Transport: transport,
		Creds: credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", location, err)
	}
	return &bucket{client: client, name: u.Host, prefix: strings.Trim(u.Path, "/")}, nil
}

// transportOf returns a transport that trusts the certificate authorities in a file; "": those of the system.
func transportOf(caFile string) (*http.Transport, error) {
	t, err := minio.DefaultTransport(true)
	if err != nil || caFile == "" {
		return t, err
	}
	raw, err := secretfile.Read(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s has no certificate in PEM", caFile)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// folder is a store in the file system.
type folder string

func (f folder) String() string { return string(f) }

func (f folder) write(_ context.Context, name string, r io.Reader) (err error) {
	to := filepath.Join(string(f), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".unfinished-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if _, err := io.Copy(tmp, r); err != nil {
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), to); err != nil {
		return err
	}
	return localfile.SyncDir(filepath.Dir(to))
}

func (f folder) read(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), filepath.FromSlash(name)))
}

func (f folder) backups(context.Context) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(string(f), "*", manifestName))
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(found))
	for _, file := range found {
		ids = append(ids, filepath.Base(filepath.Dir(file)))
	}
	slices.Sort(ids)
	return ids, nil
}

// bucket is a store in S3.
type bucket struct {
	client       *minio.Client
	name, prefix string
}

func (b *bucket) String() string { return "s3://" + path.Join(b.name, b.prefix) }

// partSize bounds what write keeps in memory. S3 has at most 10,000 parts per object, so an object has at most 160 GB.
const partSize = 16 << 20

func (b *bucket) write(ctx context.Context, name string, r io.Reader) error {
	_, err := b.client.PutObject(ctx, b.name, path.Join(b.prefix, name), r, -1, minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partSize,
	})
	return err
}

func (b *bucket) read(ctx context.Context, name string) (io.ReadCloser, error) {
	o, err := b.client.GetObject(ctx, b.name, path.Join(b.prefix, name), minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	if _, err := o.Stat(); err != nil { // GetObject itself sends nothing
		if minio.ToErrorResponse(err).Code == "NoSuchKey" {
			err = fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

func (b *bucket) backups(ctx context.Context) ([]string, error) {
	prefix := b.prefix
	if prefix != "" {
		prefix += "/"
	}
	var ids []string
	for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		if id, rest, ok := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/"); ok && rest == manifestName {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
