package procore

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
)

// sealed is a published or a Refusal as it is stored in a Store. Each service that calls Procore may write there, so a thief of one
// service's broker key could make `tieback status` report refused credentials. MAC proves that the writer has the client's secret.
type sealed struct {
	Value json.RawMessage `json:"value"`
	After uint64          `json:"after"` // the revision that this value replaces
	MAC   []byte          `json:"mac"`   // HMAC-SHA-256 of the key in the Store, After and Value
}

// maxValue is the maximum size of a value in bytes; it has about 200 for each company of a client. The bucket refuses larger
// ones.
const maxValue = 1 << 20

// errForeign is the error of a value that was not sealed with the client's secret.
var errForeign = errors.New("the store has a value that was not written by a process with the client's secret")

// seal returns value, a published or a Refusal, as it is stored at key in place of the revision after.
func seal(value any, key, secret string, after uint64) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	mac, err := macOf(raw, key, secret, after)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealed{raw, after, mac})
}

// unseal returns a value that seal returned.
func unseal[T published | Refusal](raw []byte, key, secret string) (value T, after uint64, err error) {
	var none T
	var s sealed
	if len(raw) > maxValue {
		return none, 0, fmt.Errorf("%w: it has %d bytes", errForeign, len(raw))
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return none, 0, errForeign
	}
	mac, err := macOf(s.Value, key, secret, s.After)
	if err != nil {
		return none, 0, err
	}
	if !hmac.Equal(mac, s.MAC) {
		return none, 0, errForeign
	}
	if err := json.Unmarshal(s.Value, &value); err != nil { // written by another version
		return none, 0, errForeign
	}
	return value, s.After, nil
}

// macOf authenticates a value with a key derived from the client's secret.
func macOf(value []byte, key, secret string, after uint64) ([]byte, error) {
	derived, err := hkdf.Key(sha256.New, []byte(secret), nil, "tieback quota bucket", sha256.Size)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, derived)
	fmt.Fprintf(h, "%q %d\n", key, after)
	h.Write(value)
	return h.Sum(nil), nil
}
