package api

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// at converts a time; the zero time is absent.
func at(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// when converts a time of a request; absent is the zero time.
func when(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
