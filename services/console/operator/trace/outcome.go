package trace

import (
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Outcome is the outcome of an event: the report to Procore, before or after it is made.
type Outcome struct {
	CloseOuts    []CloseOut `json:"close_outs"`
	DeadLettered bool       `json:"dead_lettered"`
	Expired      bool       `json:"expired"`               // the deadline passed first
	SkipReason   string     `json:"skip_reason,omitempty"` // why it was not processed: older, or the status of its request details in Procore; "" if it was processed
	Calls        int32      `json:"procore_calls"`         // for this event alone, by the last attempt
}

// CloseOut closes one request detail, after its marks are made. If Procore refuses a mark, the close-out is failed.
type CloseOut struct {
	Detail       int64         `json:"request_detail"` // 0 if there are only marks
	Record       string        `json:"record"`         // its name for people; "" if not known
	Status       string        `json:"status"`         // success, failed, in-progress
	Messages     []string      `json:"messages"`       // shown to the accountant
	KeptStatus   string        `json:"kept_status"`    // the earlier final status, if Procore kept it
	Marks        []Mark        `json:"marks"`
	Assignments  []Assignment  `json:"assignments"`
	Transactions []Transaction `json:"budget_transactions"`
	Unlinks      []Item        `json:"unlinks"`
	Links        []Mark        `json:"links"` // stored by Tieback, not reported
}

// Item is a record of Procore.
type Item struct {
	Type string `json:"item_type"`
	ID   int64  `json:"item_id"`
}

// Mark links a record to one of the ERP.
type Mark struct {
	Item
	OriginID   string `json:"origin_id"` // "" if marked as not synced
	OriginCode string `json:"origin_code,omitempty"`
}

// Assignment is a cost code's line item type that was marked as synced.
type Assignment struct {
	Project      int64 `json:"project"`
	SubJob       int64 `json:"sub_job"` // 0 for the project itself
	CostCode     int64 `json:"cost_code"`
	LineItemType int64 `json:"line_item_type"`
}

// Transaction is an ERP transaction of a budget that was marked as synced.
type Transaction struct {
	Project  int64  `json:"project"`
	ID       int64  `json:"id"`
	OriginID string `json:"origin_id"`
}

func outcomeOf(o *tiebackv1.Outcome) *Outcome {
	t := &Outcome{CloseOuts: []CloseOut{}, DeadLettered: o.DeadLettered, Expired: o.Expired, SkipReason: o.SkipReason, Calls: o.ProcoreCalls}
	for _, c := range o.CloseOuts {
		t.CloseOuts = append(t.CloseOuts, closeOutOf(c))
	}
	return t
}

func closeOutOf(c *tiebackv1.CloseOut) CloseOut {
	out := CloseOut{
		Detail: c.RequestDetailId, Record: c.Record, Status: request.StatusName(c.Status), Messages: append([]string{}, c.Messages...), KeptStatus: c.KeptStatus,
		Marks: []Mark{}, Assignments: []Assignment{}, Transactions: []Transaction{}, Unlinks: []Item{}, Links: []Mark{},
	}
	for _, m := range c.Marks {
		out.Marks = append(out.Marks, Mark{Item: Item{m.ItemType, m.ItemId}, OriginID: m.OriginId, OriginCode: m.OriginCode})
	}
	for _, a := range c.Assignments {
		out.Assignments = append(out.Assignments, Assignment{a.ProjectId, a.SubJobId, a.CostCodeId, a.LineItemTypeId})
	}
	for _, t := range c.BudgetTransactions {
		out.Transactions = append(out.Transactions, Transaction{t.ProjectId, t.Id, t.OriginId})
	}
	for _, u := range c.Unlinks {
		out.Unlinks = append(out.Unlinks, Item{u.ItemType, u.ItemId})
	}
	for _, l := range c.Links {
		out.Links = append(out.Links, Mark{Item: Item{l.ItemType, l.ItemId}, OriginID: l.OriginId})
	}
	return out
}
