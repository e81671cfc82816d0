package payload

import (
	"testing"

	"github.com/tieback/tieback/pkg/catalogue/dictionary"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// export does all that a worker does with the payload of an export: it reads the payload and settles the request.
func export(tb testing.TB, raw []byte) {
	q, err := Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	docs, err := Commitment(q)
	if err != nil {
		tb.Fatal(err)
	}
	Settle(q, []*tiebackv1.CloseOut{{RequestDetailId: docs[0].Detail, Status: tiebackv1.Status_STATUS_SUCCESS}})
}

func commitment(tb testing.TB) []byte {
	raw, ok := dictionary.Sample("create_commitment")
	if !ok {
		tb.Fatal("the dictionary has no create_commitment")
	}
	return raw
}

func BenchmarkExport(b *testing.B) {
	raw := commitment(b)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		export(b, raw)
	}
}

// A payload is read once, and no error is built for a value that is no id: an export makes 203 allocations. When each step read
// the payload again, it made 1,048.
func TestAnExportReadsItsPayloadOnce(t *testing.T) {
	raw := commitment(t)
	if n := testing.AllocsPerRun(100, func() { export(t, raw) }); n > 250 {
		t.Errorf("an export makes %.0f allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { procore.RequestDetails(raw) }); n > 20 {
		t.Errorf("finding the request details makes %.0f allocations", n)
	}
}
