package bus

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// While a cluster starts, the broker refuses a stream with "no suitable peers for placement", which has the status 400 and is temporary.
func TestIsPermanent(t *testing.T) {
	for _, of := range []struct {
		err  error
		want bool
	}{
		{&jetstream.APIError{Code: 400, ErrorCode: 10005}, false},
		{&jetstream.APIError{Code: 503, ErrorCode: 10008}, false},
		{context.DeadlineExceeded, false},
		{&jetstream.APIError{Code: 400, ErrorCode: 10074}, true},
	} {
		if got := isPermanent(of.err); got != of.want {
			t.Errorf("%v: %v, want %v", of.err, got, of.want)
		}
	}
}
