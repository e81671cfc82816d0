package bus

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/tieback/tieback/pkg/secretfile"
)

// errRotated ends an attempt to connect that began with the old key. The next attempt uses the new one.
var errRotated = errors.New("the broker key was rotated during the login")

// key is the nkey with which the process logs in to the broker. Its file is read for each attempt to connect, so that a
// rotated key is used from the next attempt on:
//
//	file has   server has    what happens
//	old        old           connected
//	new        old and new   stays connected by the old key
//	new        new           the server closes the connection; the first attempt detects the new key, the second uses it
//	old        new           refused until the file has the new key
//
// Remove the old key from the server only when every service's file has the new one.
type key struct {
	file string
	conn atomic.Pointer[nats.Conn]
}

// credentials returns the options for login and TLS, and the key, or nil if there is no login. The caller sets the key's
// conn after connecting.
func credentials(o Options) ([]nats.Option, *key, error) {
	var opts []nats.Option
	if o.CAFile != "" {
		opts = append(opts, nats.RootCAs(o.CAFile)) // read for each connect
	}
	if o.Offered != nil {
		// nats.Conn.TLSConnectionState reads the connection's status without its lock.
		opts = append(opts, func(no *nats.Options) error {
			if no.TLSConfig == nil {
				no.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
			}
			no.TLSConfig.VerifyConnection = func(s tls.ConnectionState) error { o.Offered(s.PeerCertificates); return nil }
			return nil
		})
	}
	if o.NKeyFile == "" {
		return opts, nil, nil
	}
	if hasUser(o.URL) {
		return nil, nil, errors.New("TIEBACK_NATS_NKEY_FILE: TIEBACK_NATS_URL has a user too; give only one of them")
	}
	k := &key{file: o.NKeyFile}
	pair, public, err := k.read()
	if err != nil {
		return nil, nil, fmt.Errorf("TIEBACK_NATS_NKEY_FILE: %w", err)
	}
	pair.Wipe()
	return append(opts, nats.Nkey(public, k.sign)), k, nil
}

// hasUser reports whether one of the URLs has a user, which nats.go would use instead of the key.
func hasUser(urls string) bool {
	for u := range strings.SplitSeq(urls, ",") {
		if parsed, err := url.Parse(strings.TrimSpace(u)); err == nil && parsed.User != nil {
			return true
		}
	}
	return false
}

// read reads the file. Its errors do not contain the content.
func (k *key) read() (pair nkeys.KeyPair, public string, err error) {
	raw, err := secretfile.ReadSecret(k.file)
	if err != nil {
		return nil, "", err
	}
	defer clear(raw)
	if pair, err = nkeys.ParseDecoratedUserNKey(bytes.TrimSpace(raw)); err != nil {
		return nil, "", fmt.Errorf("%s does not contain the nkey seed of a user (SU…): %w", k.file, err)
	}
	public, err = pair.PublicKey()
	return pair, public, err
}

// sign signs the server's challenge. nats.go calls it with the connection's lock held, after choosing the public key of
// the attempt, so a new key can only be used by the next attempt.
func (k *key) sign(nonce []byte) ([]byte, error) {
	pair, public, err := k.read()
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	if nc := k.conn.Load(); nc != nil && nc.Opts.Nkey != public {
		nc.Opts.Nkey = public
		return nil, errRotated
	}
	return pair.Sign(nonce)
}

// connect connects to the broker.
func connect(o Options, opts []nats.Option) (*nats.Conn, error) {
	auth, k, err := credentials(o)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(o.URL, append(opts, auth...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker (TIEBACK_NATS_URL): %w", err)
	}
	if k != nil {
		k.conn.Store(nc)
	}
	return nc, nil
}
