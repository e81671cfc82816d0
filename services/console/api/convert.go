package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// at converts a time; the zero time is absent.
func at(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// atOf converts a time that may be nil.
func atOf(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return at(*t)
}

// seconds converts a number of seconds that may be nil.
func seconds(s *float64) *durationpb.Duration {
	if s == nil {
		return nil
	}
	return durationpb.New(time.Duration(*s * float64(time.Second)))
}

// when converts a time of a request; absent is the zero time.
func when(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
