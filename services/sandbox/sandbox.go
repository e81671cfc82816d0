// Package sandbox is a simulated Procore for local runs and tests: the API that an ERP integration calls, the webhooks
// that it receives, and the users who press the buttons.
//
//	a user presses a button          POST /sandbox/companies/{id}/press/{event_type}, Press
//	  └─ an ERP request              GET  …/erp_requests/{id}
//	       ├─ its request details    PATCH …/erp_request_details/{id}, …/sync
//	       └─ a webhook delivery     POST to the company's hook, retried until it answers 2xx
//
// It is as strict as Procore's documentation. It refuses an id that it did not issue, an origin id that is already used,
// an update of a final request detail and a call without Procore-Company-Id, each with a message that says what to do.
// All state is in memory. Ids start above 2^53, so that a program that reads one as a float64 fails.
//
// Procore ignores a part of what it does not know in a request. The sandbox refuses any request whose query or body
// differs from the published operation, and Violations lists these requests. Package pkg/procore/schema has the
// operations, and the source of those that Procore does not publish.
//
// The rules follow Procore's documentation of its ERP platform (developers.procore.com: ERP Integration, Webhooks API,
// Rate Limiting, Sync Actions). A path without documentation is inferred from a similar one; routes.go marks it.
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a sandbox. The zero value is Procore as documented, at real speed.
type Config struct {
	// Speed divides the rate limit windows, the retry delays of webhooks and the 12 hours
	// after which Procore discards them: with 60, an hour lasts a minute. 0 is 1.
	Speed float64
	// Seed seeds all random decisions: duplicates, delays, fractions of faults.
	Seed uint64

	HourlyLimit int // calls per 60 minutes; 0: 3,600; negative: no limit
	SpikeLimit  int // calls per 10 seconds; 0: 25; negative: no limit

	// LimitsPerCompany counts the calls of each company separately if several share a client.
	// Procore does not document whether it does.
	LimitsPerCompany bool

	// APIVersion is the format of deliveries for companies without one: "v2.0", "v3.0",
	// "v4.0", or Rotate. "" is v2.0.
	APIVersion        string
	DuplicateFraction float64       // fraction of deliveries that are made twice
	LateFraction      float64       // fraction of deliveries, duplicates included, that are delayed, so that others overtake them
	LateBy            time.Duration // the longest delay, in sandbox time; 0: 2 s
	InFlight          int           // concurrent webhook calls of all hooks; 0: 32

	HookHeaders  string // how the API shows a hook's destination_headers: "" masks all but the last 5 characters; Plain; Hidden
	StatusFilter string // the query parameter that filters a hook's deliveries; "": filters[status]; Ignored: none does

	CallLog int // calls that Calls returns at most; 0: 20,000; negative: none

	// Delivered is called after each webhook call with its duration and status; status 0: no answer. It may be called
	// concurrently. nil: none.
	Delivered func(took time.Duration, status int)
}

const (
	tokenLifetime   = 5400 * time.Second
	deliveryTimeout = 5 * time.Second // of a webhook call
)

// Values of Config.HookHeaders and Config.StatusFilter.
const (
	Plain   = "plain"
	Hidden  = "hidden"
	Ignored = "ignored"
)

// Rotate is an APIVersion that sends the three formats in turn.
const Rotate = "rotate"

// Sandbox is a simulated Procore. All methods may be called concurrently.
type Sandbox struct {
	cfg        Config
	nextID     atomic.Int64
	skew       atomic.Int64 // of Procore's clock, in nanoseconds; see SkewClock
	serverSkew atomic.Int64 // in nanoseconds; see SkewServerClocks
	mu         sync.RWMutex // companies, clients, requests
	companies  map[int64]*company
	clients    map[string]*client
	requests   map[int64]*request

	tokens tokens
	faults faults
	calls  callLog
	hooks  hookRegistry
	rngMu  sync.Mutex
	rng    *rand.Rand

	requestIDs *rand.Rand // guarded by rngMu

	violations violationLog
	handler    http.Handler
}

// firstID is above 2^53: a float64 cannot hold the ids that follow.
const firstID = 1<<53 + 1001

// New returns a sandbox without companies.
func New(cfg Config) *Sandbox {
	sb := &Sandbox{
		cfg:       cfg.withDefaults(),
		companies: map[int64]*company{},
		clients:   map[string]*client{},
		requests:  map[int64]*request{},
		rng:       rand.New(rand.NewPCG(cfg.Seed, 51)),

		requestIDs: rand.New(rand.NewPCG(cfg.Seed, 52)),
	}
	sb.nextID.Store(firstID)
	sb.calls.keep = sb.cfg.CallLog
	sb.tokens.known = map[string]token{}
	sb.hooks.init(sb)
	sb.handler = sb.routes()
	return sb
}

func (c Config) withDefaults() Config {
	c.HourlyLimit, c.SpikeLimit = cmp.Or(c.HourlyLimit, 3600), cmp.Or(c.SpikeLimit, 25)
	c.InFlight, c.CallLog = cmp.Or(c.InFlight, 32), cmp.Or(c.CallLog, 20_000)
	c.Speed, c.LateBy, c.APIVersion = cmp.Or(c.Speed, 1), cmp.Or(c.LateBy, 2*time.Second), cmp.Or(c.APIVersion, "v2.0")
	return c
}

// Handler serves the API, /oauth/token and the control API under /sandbox/.
func (sb *Sandbox) Handler() http.Handler { return sb.handler }

// Run delivers webhooks until ctx ends, then waits for the calls in flight. It must be called
// at most once. Deliveries of earlier presses wait for it.
func (sb *Sandbox) Run(ctx context.Context) error { return sb.hooks.run(ctx) }

// AddCompany adds a company. If it has a WebhookURL, it also gets an ERP connection and a hook for ERP requests.
func (sb *Sandbox) AddCompany(c Company) error {
	c.APIVersion = cmp.Or(c.APIVersion, sb.cfg.APIVersion)
	if err := c.validate(); err != nil {
		return err
	}
	if c.StandardCostCodeListID == 0 {
		c.StandardCostCodeListID = sb.newID()
	}
	co := newCompany(c)
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.companies[c.ID] != nil {
		return fmt.Errorf("company %d exists already: give each company its own id", c.ID)
	}
	if err := sb.addClient(co); err != nil {
		return err
	}
	sb.companies[c.ID] = co
	if c.WebhookURL != "" {
		sb.hooks.connect(co)
		co.connection = &connection{ID: sb.newID(), CodeListID: c.StandardCostCodeListID}
	}
	return nil
}

// ErrNoCompany is returned for a company that was not added.
var ErrNoCompany = errors.New("the sandbox has no such company: add it with AddCompany first")

func (sb *Sandbox) company(id int64) (*company, error) {
	sb.mu.RLock()
	defer sb.mu.RUnlock()
	co := sb.companies[id]
	if co == nil {
		return nil, fmt.Errorf("company %d: %w", id, ErrNoCompany)
	}
	return co, nil
}

// newRequestID returns the id of an ERP request: 63 random bits, as Procore does not guarantee that ids increase.
func (sb *Sandbox) newRequestID() int64 {
	sb.rngMu.Lock()
	defer sb.rngMu.Unlock()
	return 1 + sb.requestIDs.Int64N(math.MaxInt64)
}

// newID returns any other id. It is unique over all companies and kinds.
func (sb *Sandbox) newID() int64 { return sb.nextID.Add(1) }

// scaled converts a duration of Procore to sandbox time.
func (sb *Sandbox) scaled(d time.Duration) time.Duration { return sb.cfg.scaled(d) }

func (c Config) scaled(d time.Duration) time.Duration { return time.Duration(float64(d) / c.Speed) }

// deliveryDelay returns by how much to delay a delivery.
func (sb *Sandbox) deliveryDelay() time.Duration {
	if !sb.chance(sb.cfg.LateFraction) {
		return 0
	}
	sb.rngMu.Lock()
	defer sb.rngMu.Unlock()
	return time.Duration(1 + sb.rng.Int64N(int64(sb.cfg.LateBy)))
}

func (sb *Sandbox) chance(fraction float64) bool {
	if fraction <= 0 {
		return false
	}
	sb.rngMu.Lock()
	defer sb.rngMu.Unlock()
	return sb.rng.Float64() < fraction
}
