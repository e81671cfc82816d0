package procore

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/company"
)

// sealed is a budget or a Refusal as it lies in a Store. Each service that calls Procore may write there, so a thief
// of one service's key for the broker could hold back the calls of all, or have `tieback status` report refused
// credentials. MAC proves that the writer has the client's secret, and with that it could spend the limits at Procore
// itself.
type sealed struct {
	Value json.RawMessage `json:"value"`
	After uint64          `json:"after"` // the revision that this value replaces
	MAC   []byte          `json:"mac"`   // HMAC-SHA-256 of the key in the Store, After and Value
}

// maxValue is how many bytes a value may have: some 300 for each company of a client. The bucket takes no larger one.
const maxValue = 1 << 20

// errForeign is the error of a value that was not sealed with the client's secret.
var errForeign = errors.New("the store holds a value that no process with the client's secret wrote")

// seal returns value, a budget or a Refusal, as it is stored at key in place of the revision after.
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

// unseal reads what seal made.
func unseal[T budget | Refusal](raw []byte, key, secret string) (value T, after uint64, err error) {
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
	if err := json.Unmarshal(s.Value, &value); err != nil { // of another version
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

// secretOf gives the function that asks for a client's secret as it is now.
func secretOf(c *company.Client) func() string {
	return func() string { return string(c.Credentials().Secret) }
}

// recordForeign counts a value that was ignored, and logs it once a minute. Only the leader of shared calls it.
func (m *limiter) recordForeign() {
	m.foreignValues.Add(1)
	if now := m.clock.local(); now.Sub(m.warned) >= time.Minute {
		m.warned = now
		m.log.Warn("the quota bucket holds a value that no process with the client's secret wrote; it is ignored. "+
			"Where the client's secret is not being rotated, a service's key for the broker may be stolen: see `tieback provisioner keys`",
			zap.String("key", m.key), zap.Int64("ignored", m.foreignValues.Load()))
	}
}
