package sandbox

import (
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

// Config sets a sandbox up. The zero value is Procore as published, at real speed.
type Config struct {
	// Speed divides the rate limit windows, the backoff of the webhooks and their
	// 12 hours: 60 makes an hour a minute. 0 is 1.
	Speed float64
	// Seed of all that is random here: duplicates, fractions of faults.
	Seed uint64

	TokenLife   time.Duration // of an access token, not divided by Speed; 0: 5,400 s
	HourlyLimit int           // calls in 60 minutes; 0: 3,600; negative: no end
	SpikeLimit  int           // calls in 10 seconds; 0: 25; negative: no end

	// LimitsPerCompany counts the calls of each company apart, where several have one client. Procore does not publish
	// whether it does.
	LimitsPerCompany bool

	// APIVersion is the shape of deliveries for companies that don't say: "v2.0", "v3.0",
	// "v4.0", or Rotate for one after the other. "": v2.0.
	APIVersion        string
	DuplicateEvery    int           // every Nth delivery is made twice; 0: none
	DuplicateFraction float64       // of the deliveries are made twice
	LateFraction      float64       // of the deliveries, duplicates counted, are overtaken by others
	LateBy            time.Duration // at most, in sandbox time; 0: 2 s
	InFlight          int           // webhook calls at a time, over all hooks; 0: 32
	DeliveryTimeout   time.Duration // a receiver's time to answer; 0: 5 s. Not divided by Speed: receivers don't get faster

	NoStatusManagement bool // a Procore without the routes that unlink a record: external data alone marks it as not synced

	HookHeaders  string // how a hook's destination_headers are shown: "" masked but for the last 5 characters, Plain or Hidden
	StatusFilter string // the query parameter that filters a hook's deliveries; "": filters[status]; Ignored: none does

	CallLog int // calls kept for Calls; 0: 20,000; negative: none
}

// Values of Config.HookHeaders and Config.StatusFilter.
const (
	Plain   = "plain"
	Hidden  = "hidden"
	Ignored = "ignored"
)

// Rotate as an APIVersion sends the three shapes in turn.
const Rotate = "rotate"

// Sandbox is Procore, small. All methods may be called concurrently.
type Sandbox struct {
	cfg       Config
	nextID    atomic.Int64
	skew      atomic.Int64 // of Procore's clock, in nanoseconds
	jump      atomic.Int64 // nanoseconds; see JumpServers
	mu        sync.RWMutex // companies, clients, requests
	companies map[int64]*company
	clients   map[string]*client
	requests  map[int64]*request

	tokens tokens
	faults faults
	calls  callLog
	hooks  hookBook
	rngMu  sync.Mutex
	rng    *rand.Rand

	requestIDs *rand.Rand // guarded by rngMu

	violations violationLog
	handler    http.Handler
}

// firstID is above 2^53: a float64 can't hold the ids that follow.
const firstID = 1<<53 + 1001

// New makes a sandbox without companies.
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
	orElse := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orElse(&c.HourlyLimit, 3600)
	orElse(&c.SpikeLimit, 25)
	orElse(&c.InFlight, 32)
	orElse(&c.CallLog, 20_000)
	if c.Speed <= 0 {
		c.Speed = 1
	}
	if c.TokenLife <= 0 {
		c.TokenLife = 5400 * time.Second
	}
	if c.DeliveryTimeout <= 0 {
		c.DeliveryTimeout = 5 * time.Second
	}
	if c.LateBy <= 0 {
		c.LateBy = 2 * time.Second
	}
	if c.APIVersion == "" {
		c.APIVersion = "v2.0"
	}
	return c
}

// Handler serves the API, /oauth/token and the control API under /sandbox/.
func (sb *Sandbox) Handler() http.Handler { return sb.handler }

// Run delivers webhooks until ctx ends, then waits for the calls in flight. Run it once;
// presses before it wait in the hooks' queues.
func (sb *Sandbox) Run(ctx context.Context) error { return sb.hooks.run(ctx) }

// AddCompany adds a company; with a WebhookURL it has an ERP connection and a hook for ERP requests at once, as its
// setup would have made them. Without one it has neither yet.
func (sb *Sandbox) AddCompany(c Company) error {
	if c.APIVersion == "" {
		c.APIVersion = sb.cfg.APIVersion
	}
	if err := c.validate(); err != nil {
		return err
	}
	if c.StandardCostCodeListID == 0 {
		c.StandardCostCodeListID = sb.mint()
	}
	co := newCompany(c)
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.companies[c.ID] != nil {
		return fmt.Errorf("company %d is here already: give each company an id of its own", c.ID)
	}
	if err := sb.join(co); err != nil {
		return err
	}
	sb.companies[c.ID] = co
	if c.WebhookURL != "" {
		sb.hooks.connect(co)
		co.connection = &connection{ID: sb.mint(), CodeListID: c.StandardCostCodeListID}
	}
	return nil
}

// ErrNoCompany is returned when a company was never added.
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

// mintRequest issues the id of an ERP request: 63 random bits. Procore does not promise that ids grow.
func (sb *Sandbox) mintRequest() int64 {
	sb.rngMu.Lock()
	defer sb.rngMu.Unlock()
	return 1 + sb.requestIDs.Int64N(math.MaxInt64)
}

// mint issues an id of anything else, unique over all companies and kinds.
func (sb *Sandbox) mint() int64 { return sb.nextID.Add(1) }

// scaled is a duration of Procore's in sandbox time.
func (sb *Sandbox) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / sb.cfg.Speed)
}

// late is how long a delivery is held back; 0: not at all.
func (sb *Sandbox) late() time.Duration {
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
