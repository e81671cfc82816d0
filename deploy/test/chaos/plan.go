package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// fault is one fault of a seed's plan.
type fault struct {
	At     time.Duration // from the first click
	For    time.Duration
	Kind   string
	Target string // a process, a link, a disk or a company; "": given by the kind
	Amount float64
}

func (f fault) String() string {
	return fmt.Sprintf("%6.2f s  %-22s %-28s for %.1f s (%.2f)", f.At.Seconds(), f.Kind, f.Target, f.For.Seconds(), f.Amount)
}

// targets are the parts of a cluster that can fail.
type targets struct {
	services, nodes, links []string
	disks                  []string
	companies              []string
}

// kind is a kind of fault: how often it is drawn, its targets, how long it lasts, and how strong it is.
type kind struct {
	name     string
	weight   int
	targets  func(targets) []string
	from, to time.Duration
	amount   func(*rand.Rand) float64
}

func services(t targets) []string  { return t.services }
func nodes(t targets) []string     { return t.nodes }
func links(t targets) []string     { return t.links }
func disks(t targets) []string     { return t.disks }
func companies(t targets) []string { return append([]string{"all"}, t.companies...) }
func ledgers(targets) []string     { return []string{"ledger"} }
func proxies(targets) []string     { return []string{"fault proxy"} }
func hooks(targets) []string       { return []string{"all"} }
func clocks(targets) []string      { return []string{"procore"} }

// multiNode returns the broker nodes if there are several.
func multiNode(t targets) []string {
	if len(t.nodes) < 2 {
		return nil
	}
	return t.nodes
}

func none(*rand.Rand) float64   { return 0 }
func some(r *rand.Rand) float64 { return 0.2 + 0.8*r.Float64() } // a share of the calls
func upTo(n float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return n * (0.1 + 0.9*r.Float64()) }
}

// skew returns seconds: minutes or hours, in either direction.
func skew(r *rand.Rand) float64 {
	s := []float64{90, 600, 3600, 6 * 3600}[r.IntN(4)] * (0.5 + r.Float64())
	if r.IntN(2) == 0 {
		return -s
	}
	return s
}

const second = time.Second

// kinds has all kinds of faults, with their weights.
var kinds = []kind{
	{"kill a service", 8, services, 0, 3 * second, none},
	{"pause a service", 6, services, 1 * second, 8 * second, none},
	{"kill a broker node", 4, nodes, 0, 3 * second, none},
	{"pause a broker node", 3, nodes, 1 * second, 8 * second, none},
	{"cut off a broker node", 3, multiNode, 1 * second, 10 * second, none},
	{"kill the ERP", 4, ledgers, 0, 3 * second, none},
	{"pause the ERP", 2, ledgers, 1 * second, 8 * second, none},
	{"cut a link", 6, links, 1 * second, 10 * second, none},
	{"slow a link", 4, links, 2 * second, 10 * second, upTo(1)},   // seconds in each direction
	{"narrow a link", 3, links, 2 * second, 8 * second, upTo(30)}, // kB/s
	{"hang a link", 4, links, 1 * second, 8 * second, none},
	{"lose a link's answers", 4, links, 1 * second, 6 * second, none},
	{"reset a link", 3, links, 1 * second, 6 * second, none},
	{"Procore: 429", 3, companies, 1 * second, 6 * second, some},
	{"Procore: 500", 3, companies, 1 * second, 6 * second, some},
	{"Procore: 503", 2, companies, 1 * second, 6 * second, some},
	{"Procore hangs", 2, companies, 1 * second, 4 * second, some},
	{"Procore resets", 2, companies, 1 * second, 6 * second, some},
	{"Procore loses answers", 4, companies, 1 * second, 8 * second, some},
	{"Procore expires tokens", 2, companies, 1 * second, 4 * second, some},
	{"Procore drops deliveries", 5, hooks, second, 4 * second, none},
	{"Procore's clock jumps", 3, clocks, 2 * second, 12 * second, skew},
	{"ERP: 429", 2, proxies, 1 * second, 6 * second, some},
	{"ERP: 500", 2, proxies, 1 * second, 6 * second, some},
	{"ERP hangs", 2, proxies, 1 * second, 4 * second, some},
	{"ERP loses answers", 4, proxies, 1 * second, 8 * second, some},
	{"full disk", 3, disks, 2 * second, 6 * second, none},
}

// draw returns the plan of a seed. The same seed and targets give the same faults at the same times.
func draw(seed uint64, t targets, n int, window time.Duration) []fault {
	r := rand.New(rand.NewPCG(seed, 4))
	var urn []kind
	for _, k := range kinds {
		if len(k.targets(t)) == 0 {
			continue
		}
		for range k.weight {
			urn = append(urn, k)
		}
	}
	var out []fault
	for range n {
		k := urn[r.IntN(len(urn))]
		aims := k.targets(t)
		f := fault{Kind: k.name, Target: aims[r.IntN(len(aims))], At: time.Duration(r.Int64N(int64(window))), Amount: k.amount(r)}
		f.For = k.from + time.Duration(r.Int64N(int64(k.to-k.from)))
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b fault) int { return int(a.At - b.At) })
	return out
}

// targets are named, not pointed to, so that a plan can be printed and compared.
func (cl *cluster) targets() targets {
	var t targets
	for _, s := range cl.services {
		t.services = append(t.services, s.name)
	}
	for _, n := range cl.nodes {
		t.nodes = append(t.nodes, n.name)
		if n.disk.small {
			t.disks = append(t.disks, n.name)
		}
	}
	if cl.erp.disk.small {
		t.disks = append(t.disks, "ledger")
	}
	for _, l := range cl.network.links {
		t.links = append(t.links, l.name)
	}
	for _, f := range cl.firms {
		t.companies = append(t.companies, fmt.Sprint(f.id))
	}
	return t
}
