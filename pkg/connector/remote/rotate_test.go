package remote

import (
	"context"
	"maps"
	"net"
	"sync/atomic"
	"testing"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A connector restarts with another token and a certificate of another authority. The open ERP calls it with the new
// settings.
func TestRotatedTokenAndAuthorityAreUsed(t *testing.T) {
	const oldToken, newToken = "0123456789abcdef-old", "0123456789abcdef-new"
	before, after := newAuthority(t), newAuthority(t)
	cert, key := before.files(t, "127.0.0.1")
	address, stop := served(t, vendors{}, ServerConfig{Tokens: []string{oldToken}, TLSCert: cert, TLSKey: key})

	var settings atomic.Pointer[map[string]string]
	settings.Store(&map[string]string{"address": address, "ca": before.pem, "token": oldToken})
	shared := connector.NewShared(connector.Drivers{"remote": Open})
	erp, err := shared.Open(t.Context(), "remote", func() map[string]string { return *settings.Load() }, connector.Config{Company: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := shared.Close(erp); err != nil {
			t.Error(err)
		}
	}()
	if err := find(t.Context(), shared, erp); err != nil {
		t.Fatal(err)
	}

	stop()
	cert, key = after.files(t, "127.0.0.1")
	servedAt(t, address, ServerConfig{Tokens: []string{newToken}, TLSCert: cert, TLSKey: key})
	if err := find(t.Context(), shared, erp); err == nil {
		t.Fatal("the old token and authority still count")
	}
	for _, rotated := range []map[string]string{{"ca": after.pem}, {"token": newToken}} {
		next := maps.Clone(*settings.Load())
		maps.Copy(next, rotated)
		settings.Store(&next)
	}
	if err := find(t.Context(), shared, erp); err != nil {
		t.Errorf("with the new token and authority: %v", err)
	}
}

// find calls Renew and asks the ERP for a vendor.
func find(ctx context.Context, shared *connector.Shared, erp *connector.ERP) error {
	shared.Renew(ctx)
	shared.Wait()
	_, err := erp.State(ctx, tiebackv1.Entity_ENTITY_VENDOR, "V-1")
	return err
}

// vendors is an ERP that has every vendor.
type vendors struct{ driver }

func (vendors) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return &tiebackv1.CapabilitiesResponse{Name: "vendors", Entities: []*tiebackv1.EntityCapability{{Entity: tiebackv1.Entity_ENTITY_VENDOR, State: true}}}, nil
}

func (vendors) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_PRESENT}, nil
}

// servedAt serves at the address of an earlier connector.
func servedAt(t *testing.T, address string, c ServerConfig) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c.Listener = l
	c.Resolve = func(context.Context, int64) (connector.Driver, error) { return vendors{}, nil }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}
