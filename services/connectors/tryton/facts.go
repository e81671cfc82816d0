package tryton

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// facts are the ids that bookings of the company need; see module/tieback/company.py. They are reloaded every
// minute, as a currency may be added, or the database restored.
type facts struct {
	id         int64 // Tryton's id of the company
	Currency   int64
	Code       string // of the currency, ISO 4217
	Digits     int32
	Currencies map[string]int64
	DigitsOf   map[string]int32 `json:"digits_of"`
	Roots      map[string]int64
	Owner      int64 // the party of a prime contract without one
	Sundry     int64 // the party of a direct cost without one
	Expense    int64
	Revenue    int64
	Unit       int64

	RetainagePayable    int64 `json:"retainage_payable"`
	RetainageReceivable int64 `json:"retainage_receivable"`

	Bank struct {
		Journal, Account int64
		PartyRequired    bool `json:"party_required"`
	}
}

// factsTTL is how long facts are cached.
const factsTTL = time.Minute

// context returns the context of calls about the company's books.
func (f *facts) context() object { return object{"company": f.id} }

// company returns the company's facts. It returns an error for another company.
func (b *Books) company(ctx context.Context, company int64) (*facts, error) {
	if err := b.mine(company); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.facts != nil && time.Since(b.asked) < factsTTL {
		return b.facts, nil
	}
	f := &facts{}
	var err error
	if f.id, err = b.companyID(ctx); err != nil {
		return nil, err
	}
	if err := b.rpc.callWith(ctx, reads, f.context(), f, "model.tieback.company.facts", f.id); err != nil {
		return nil, err
	}
	b.facts, b.asked = f, time.Now()
	return f, nil
}

// companyID returns the id of the company by its name, or of the only company.
func (b *Books) companyID(ctx context.Context) (int64, error) {
	var rows []struct {
		ID      int64  `json:"id"`
		RecName string `json:"rec_name"`
	}
	if err := b.rpc.call(ctx, reads, &rows, "model.company.company.search_read", []any{}, 0, nil, nil, []string{"rec_name"}); err != nil {
		return 0, err
	}
	var names []string
	for _, r := range rows {
		if r.RecName == b.config.company || b.config.company == "" && len(rows) == 1 {
			return r.ID, nil
		}
		names = append(names, r.RecName)
	}
	return 0, fmt.Errorf("tryton: connector.company: must name one of %q", strings.Join(names, ", "))
}
