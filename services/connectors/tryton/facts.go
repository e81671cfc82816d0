package tryton

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// facts are ids of what bookings of the company need; see module/tieback/company.py. They
// are looked up once a minute: somebody may add a currency, or put the database back.
type facts struct {
	id         int64 // Tryton's of the company
	Currency   int64
	Code       string // of the currency, ISO 4217
	Digits     int32
	Currencies map[string]int64
	DigitsOf   map[string]int32 `json:"digits_of"`
	Roots      map[string]int64
	Owner      int64 // party of a prime contract that names none
	Sundry     int64 // party of a direct cost that names none
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

// factsFresh is how long they are believed.
const factsFresh = time.Minute

// context is what calls about the company's books carry.
func (f *facts) context() object { return object{"company": f.id} }

// company gives the company's facts, or refuses a request for another company.
func (b *Books) company(ctx context.Context, company int64) (*facts, error) {
	if err := b.mine(company); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.facts != nil && time.Since(b.asked) < factsFresh {
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

// companyID finds the company by its name, or the only one.
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
	return 0, fmt.Errorf("tryton: connector.company: which of %q", strings.Join(names, ", "))
}
