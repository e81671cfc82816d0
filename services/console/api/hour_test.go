package api

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// The last hour is kept by company: the quota, the share of the requests that ended, and the age of the oldest open request beside
// the median of the others. A company whose quota is no longer known has no series of it.
func TestHours(t *testing.T) {
	var q hours
	start := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for i := range int64(70) {
		q.add(&operatorv1.Overview{At: at(start.Add(time.Duration(i) * time.Minute)), Companies: []*operatorv1.CompanyState{
			{Id: 7, Succeeded: 30, Failed: 10, OldestAge: durationpb.New(time.Duration(i) * time.Second), Quota: &operatorv1.Quota{Hour: &operatorv1.RateWindow{Limit: 3600, Remaining: 3600 - 36*i}}},
			{Id: 8, Succeeded: 60, OldestAge: durationpb.New(5 * time.Second)}, {Id: 9, OldestAge: durationpb.New(9 * time.Second)}, {Id: 10, OldestAge: durationpb.New(time.Hour)}, {Id: 11},
		}})
	}
	series := func(company int64, name string) *operatorv1.Series {
		for _, s := range q.of(company) {
			if s.Name == name {
				return s
			}
		}
		return nil
	}
	s := series(7, "quota_left")
	if len(s.GetCounts()) != hourMinutes || s.Counts[0] != 90 || s.Counts[59] != 31 || !s.Start.AsTime().Equal(start.Add(10*time.Minute)) {
		t.Errorf("the series is %v", s)
	}
	for name, want := range map[string]uint32{"share": 40, "wait": 69, "wait_others": 9} {
		if s := series(7, name); len(s.GetCounts()) != hourMinutes || s.Counts[59] != want {
			t.Errorf("%s is %v, want %d", name, s, want)
		}
	}
	if s := series(11, "share"); s.GetCounts()[59] != 0 {
		t.Errorf("the share of a company without requests is %v", s)
	}
	if series(8, "quota_left") != nil {
		t.Error("a company without a quota has a series of it")
	}
	q.add(&operatorv1.Overview{})
	if q.of(7) != nil {
		t.Error("the series goes on without a quota")
	}
}
