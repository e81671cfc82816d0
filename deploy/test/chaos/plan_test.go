package main

import (
	"reflect"
	"testing"
	"time"
)

var everything = targets{
	services: []string{"export", "fetcher", "ingest"}, nodes: []string{"broker0", "broker1", "broker2"}, links: []string{"export→broker0", "procore→ingest"},
	disks: []string{"broker0", "ledger"}, companies: []string{"1", "2"},
}

// A seed always has the same plan, so that a failure can be repeated.
func TestASeedGivesTheSameFaultsAtTheSameMoments(t *testing.T) {
	a, b := draw(7, everything, 40, 20*time.Second), draw(7, everything, 40, 20*time.Second)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("one seed, two plans:\n%v\n%v", a, b)
	}
	if reflect.DeepEqual(a, draw(8, everything, 40, 20*time.Second)) {
		t.Error("two seeds, one plan")
	}
}

// Each kind of fault is drawn and has an action.
func TestEveryKindOfFaultIsDrawnAndCanBeDone(t *testing.T) {
	drawn := map[string]bool{}
	for seed := range uint64(50) {
		for _, b := range draw(seed, everything, 24, 20*time.Second) {
			drawn[b.Kind] = true
		}
	}
	for _, k := range kinds {
		if !drawn[k.name] {
			t.Errorf("%q is not drawn in 50 seeds", k.name)
		}
		if actions[k.name] == nil {
			t.Errorf("no action for %q", k.name)
		}
	}
	if len(actions) != len(kinds) {
		t.Errorf("%d actions for %d kinds", len(actions), len(kinds))
	}
}

// A single node is never cut off, and disks are filled only if mounting is permitted.
func TestPlanTargetsExist(t *testing.T) {
	small := targets{services: []string{"export"}, nodes: []string{"broker0"}, links: []string{"export→broker0"}, companies: []string{"1"}}
	for seed := range uint64(50) {
		for _, b := range draw(seed, small, 24, 20*time.Second) {
			if b.Kind == "cut off a broker node" || b.Kind == "full disk" {
				t.Fatalf("seed %d: %v", seed, b)
			}
		}
	}
}
