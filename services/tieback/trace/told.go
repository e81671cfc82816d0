package trace

import (
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Told is what Procore is told of the event, or was.
type Told struct {
	CloseOuts    []CloseOut `json:"close_outs"`
	DeadLettered bool       `json:"dead_lettered"`
	Expired      bool       `json:"expired"`        // its deadline passed first
	Left         string     `json:"left,omitempty"` // why it was left alone: older, or the status of its request details in Procore; "": it was worked
	Calls        int32      `json:"procore_calls"`  // made for this event alone, by the attempt that worked
}

// CloseOut is one request detail's end, with the marks made before it. A mark that Procore refused
// made its close-out a failed one.
type CloseOut struct {
	Detail       int64         `json:"request_detail"` // 0: none, only marks
	Record       string        `json:"record"`         // as a person calls it; "": not told
	Status       string        `json:"status"`         // success, failed, in-progress
	Messages     []string      `json:"messages"`       // shown to the accountant
	Stands       string        `json:"stands"`         // where Procore kept an earlier end: that one
	Marks        []Mark        `json:"marks"`
	Assignments  []Assignment  `json:"assignments"`
	Transactions []Transaction `json:"budget_transactions"`
	Unlinks      []Item        `json:"unlinks"`
	Links        []Mark        `json:"links"` // learned by us, told to nobody
}

// Item is a record of Procore.
type Item struct {
	Type string `json:"item_type"`
	ID   int64  `json:"item_id"`
}

// Mark ties a record to one of the ERP.
type Mark struct {
	Item
	OriginID   string `json:"origin_id"` // "": marked as not synced
	OriginCode string `json:"origin_code,omitempty"`
}

// Assignment is a cost code's line item type that was marked as synced.
type Assignment struct {
	Project      int64 `json:"project"`
	SubJob       int64 `json:"sub_job"` // 0: the project itself
	CostCode     int64 `json:"cost_code"`
	LineItemType int64 `json:"line_item_type"`
}

// Transaction is an ERP transaction of a budget that was marked as synced.
type Transaction struct {
	Project  int64  `json:"project"`
	ID       int64  `json:"id"`
	OriginID string `json:"origin_id"`
}

func toldOf(o *tiebackv1.Outcome) *Told {
	t := &Told{CloseOuts: []CloseOut{}, DeadLettered: o.DeadLettered, Expired: o.Expired, Left: o.Left, Calls: o.ProcoreCalls}
	for _, c := range o.CloseOuts {
		t.CloseOuts = append(t.CloseOuts, closeOutOf(c))
	}
	return t
}

func closeOutOf(c *tiebackv1.CloseOut) CloseOut {
	out := CloseOut{
		Detail: c.RequestDetailId, Record: c.Record, Status: request.StatusName(c.Status), Messages: append([]string{}, c.Messages...), Stands: c.KeptStatus,
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
