package process

import (
	"context"
	"testing"
	"time"
)

// Found by chaos and in compose: ingest has no companies, no client of Procore and no connector, and what all
// services do of their own called them.
func TestAServiceWithoutCompaniesReportsNoTrouble(t *testing.T) {
	t.Setenv("TIEBACK_NATS_URL", "nats://127.0.0.1:1")
	p, err := loadAlone("ingest")
	if err != nil {
		t.Fatal(err)
	}
	p.Slow = 6 * time.Millisecond
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	if err := p.ReportTroubles(ctx); err != nil {
		t.Error(err)
	}
}
