package api

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/fault"
)

// A unary call ends after a minute, even if its client would wait longer.
func TestUnaryCallsHaveDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &API{app: &tenant.App{App: &app.App{Log: zap.NewNop()}}}
		client, leave := context.WithTimeout(t.Context(), time.Hour)
		defer leave()
		start := time.Now()
		_, err := classes{a}.WrapUnary(func(ctx context.Context, _ connect.AnyRequest) (connect.AnyResponse, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("state pauses: %w", ctx.Err())
		})(client, connect.NewRequest(&struct{}{}))
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded || time.Since(start) != callTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A key that lacks a permission is not a temporary failure, although the pipeline retries it.
func TestCodeOfMissingPermission(t *testing.T) {
	err := fault.New(fault.Throttled, fmt.Errorf("state pauses: %w", nats.ErrPermissionViolation))
	if got := codeOf(t.Context(), err); got != connect.CodeFailedPrecondition {
		t.Errorf("the code is %v", got)
	}
}
