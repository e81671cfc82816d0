package reference

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// erp books commitments.
type erp struct {
	url    string
	client *http.Client
}

// payload is what an export reads of the ERP request.
type payload struct {
	Data struct {
		Job        string `json:"job_id"`
		Detail     int64  `json:"request_detail_id"`
		Commitment struct {
			ID     int64  `json:"id"`
			Type   string `json:"type"`
			Number string `json:"number"`
			Title  string `json:"title"`
			Total  string `json:"grand_total"`
			Vendor origin `json:"vendor"`
		} `json:"commitment"`
		Items []struct {
			ID          int64  `json:"id"`
			Amount      string `json:"amount"`
			Description string `json:"description"`
			CostCode    origin `json:"cost_code"`
			Category    origin `json:"line_item_type"`
		} `json:"commitment_items"`
	} `json:"request_data"`
}

type origin struct {
	ID string `json:"origin_id"`
}

// commitment and line are what the ERP books.
type commitment struct {
	ID     int64  `json:"id"`
	Number string `json:"number"`
	Title  string `json:"title"`
	Vendor string `json:"vendor"`
	Job    string `json:"job"`
	Lines  []line `json:"lines"`
}

type line struct {
	ID          int64  `json:"id"`
	CostCode    string `json:"cost_code"`
	Category    string `json:"category"`
	Description string `json:"description"`
	Amount      string `json:"amount"`
}

// booked is what the step report needs of a booking.
type booked struct {
	Detail int64  `json:"request_detail_id"`
	Marks  []mark `json:"marks"`
}

type mark struct {
	ItemType string `json:"item_type"`
	ItemID   int64  `json:"item_id"`
	OriginID string `json:"origin_id"`
}

// book books the commitment of an ERP request. The ERP recognizes a repeated call by the id of the request.
func (e *erp) book(ctx context.Context, request int64, data []byte) ([]byte, error) {
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	from := p.Data.Commitment
	c := commitment{ID: from.ID, Number: from.Number, Title: from.Title, Vendor: from.Vendor.ID, Job: p.Data.Job}
	for _, i := range p.Data.Items {
		c.Lines = append(c.Lines, line{i.ID, i.CostCode.ID, i.Category.ID, i.Description, i.Amount})
	}
	answer, err := send(ctx, e.client, http.MethodPost, e.url+"/erp/commitments", c, map[string]string{"Idempotency-Key": strconv.FormatInt(request, 10)})
	if err != nil {
		return nil, err
	}
	var a struct {
		ID    string   `json:"id"`
		Lines []string `json:"lines"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, err
	}
	if len(a.Lines) != len(c.Lines) {
		return nil, fmt.Errorf("the ERP booked %d lines of %d", len(a.Lines), len(c.Lines))
	}
	kind := "purchase_order_contract"
	if from.Type == "WorkOrderContract" {
		kind = "work_order_contract"
	}
	b := booked{Detail: p.Data.Detail, Marks: []mark{{kind, from.ID, a.ID}}}
	for i, id := range a.Lines {
		b.Marks = append(b.Marks, mark{"line_item", c.Lines[i].ID, id})
	}
	return json.Marshal(b)
}
