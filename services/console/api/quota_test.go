package api

import (
	"testing"
	"time"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// The quotas of an hour are kept by company. A company whose quota is no longer known has no series.
func TestQuotas(t *testing.T) {
	var q quotas
	start := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for i := range int64(70) {
		q.add(&operatorv1.Overview{At: at(start.Add(time.Duration(i) * time.Minute)), Companies: []*operatorv1.CompanyState{
			{Id: 7, Quota: &operatorv1.Quota{Hour: &operatorv1.RateWindow{Limit: 3600, Remaining: 3600 - 36*i}}}, {Id: 8},
		}})
	}
	s := q.of(7)
	if len(s.GetCounts()) != quotaMinutes || s.Counts[0] != 90 || s.Counts[59] != 31 || !s.Start.AsTime().Equal(start.Add(10*time.Minute)) {
		t.Errorf("the series is %v", s)
	}
	if q.of(8) != nil {
		t.Error("a company without a quota has a series")
	}
	q.add(&operatorv1.Overview{})
	if q.of(7) != nil {
		t.Error("the series goes on without a quota")
	}
}
