package payload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Refused turns a permanent refusal of one record that has words for the accountant into a
// close-out that says failed. Any other error is given back.
func Refused(r *tiebackv1.Record, detail int64, err error) (*tiebackv1.CloseOut, error) {
	sentence := fault.UserMessage(err, "")
	if fault.ClassOf(err) != fault.Permanent || sentence == "" {
		return nil, err
	}
	if !named(r, sentence) {
		sentence = connector.Describe(r) + ": " + sentence
	}
	return &tiebackv1.CloseOut{
		RequestDetailId: detail, Status: tiebackv1.Status_STATUS_FAILED, Messages: []string{sentence}, Record: connector.Describe(r),
	}, nil
}

// named says whether a sentence says which record it is about.
func named(r *tiebackv1.Record, sentence string) bool {
	return slices.ContainsFunc([]string{r.Name, r.Code, r.Number, r.OriginId}, func(s string) bool {
		return s != "" && strings.Contains(sentence, s)
	})
}

// Settle gives every request detail of the payload its close-out, given one close-out for
// each record. Records without a detail of their own share the event's, wherever it sits:
//
//	all of a detail's records booked    one close-out, success, with the marks of all
//	some refused                        the detail failed, with the reasons; what was booked
//	                                    is marked by a close-out without a detail
//	no detail anywhere                  each record keeps a close-out of its own
func Settle(q Request, records []*tiebackv1.CloseOut) []*tiebackv1.CloseOut {
	open := Details(q.Raw)
	for _, c := range records {
		open = slices.DeleteFunc(open, func(id int64) bool { return id == c.RequestDetailId })
	}
	if len(open) > 0 {
		for _, c := range records {
			if c.RequestDetailId == 0 {
				c.RequestDetailId = open[0]
			}
		}
	}
	out := group(records)
	for _, id := range open {
		if !slices.ContainsFunc(out, func(c *tiebackv1.CloseOut) bool { return c.RequestDetailId == id }) {
			out = append(out, verdict(id, records))
		}
	}
	return out
}

// group brings records with the same detail together, in the order they came.
func group(records []*tiebackv1.CloseOut) []*tiebackv1.CloseOut {
	var out []*tiebackv1.CloseOut
	done := map[int64]bool{0: true}
	for _, c := range records {
		switch id := c.RequestDetailId; {
		case id == 0:
			out = append(out, c)
		case !done[id]:
			done[id] = true
			out = append(out, merge(of(id, records))...)
		}
	}
	return out
}

func of(detail int64, records []*tiebackv1.CloseOut) []*tiebackv1.CloseOut {
	return slices.DeleteFunc(slices.Clone(records), func(c *tiebackv1.CloseOut) bool { return c.RequestDetailId != detail })
}

// merge makes one close-out of a detail's records, or two where some were refused.
func merge(records []*tiebackv1.CloseOut) []*tiebackv1.CloseOut {
	if len(records) == 1 {
		return records
	}
	end := verdict(records[0].RequestDetailId, records)
	booked := end
	if end.Status == tiebackv1.Status_STATUS_FAILED {
		booked = &tiebackv1.CloseOut{Status: tiebackv1.Status_STATUS_SUCCESS}
	}
	for _, c := range records {
		if c.Status == tiebackv1.Status_STATUS_SUCCESS {
			add(booked, c)
		}
	}
	if booked == end || booked.Record == "" {
		return []*tiebackv1.CloseOut{end}
	}
	return []*tiebackv1.CloseOut{booked, end}
}

func add(to, c *tiebackv1.CloseOut) {
	to.Marks = append(to.Marks, c.Marks...)
	to.Assignments = append(to.Assignments, c.Assignments...)
	to.BudgetTransactions = append(to.BudgetTransactions, c.BudgetTransactions...)
	to.Unlinks = append(to.Unlinks, c.Unlinks...)
	to.Links = append(to.Links, c.Links...)
	if to.Record == "" {
		to.Record = c.Record
	}
}

// maxMessages is how many reasons a person is shown for one request detail.
const maxMessages = 20

// verdict is how records together ended, with the words of those that failed; or, where none
// did, the words that all have in common.
func verdict(detail int64, records []*tiebackv1.CloseOut) *tiebackv1.CloseOut {
	end := &tiebackv1.CloseOut{RequestDetailId: detail, Status: tiebackv1.Status_STATUS_SUCCESS}
	failed := slices.DeleteFunc(slices.Clone(records), func(c *tiebackv1.CloseOut) bool { return c.Status == tiebackv1.Status_STATUS_SUCCESS })
	if len(failed) > 0 {
		end.Status, records = tiebackv1.Status_STATUS_FAILED, failed
	}
	for _, c := range records {
		for _, m := range c.Messages {
			if !slices.Contains(end.Messages, m) {
				end.Messages = append(end.Messages, m)
			}
		}
	}
	if len(records) == 1 {
		end.Record = records[0].Record
	}
	if more := len(end.Messages) - maxMessages; more > 0 {
		end.Messages = append(end.Messages[:maxMessages], fmt.Sprintf("And %d more.", more))
	}
	return end
}

// Each works links one by one and settles the request with what they came to; a refusal is
// that record's alone, any other error ends it.
func Each(q Request, links []Link, work func(Link) (*tiebackv1.CloseOut, error)) ([]*tiebackv1.CloseOut, error) {
	var records []*tiebackv1.CloseOut
	for _, link := range links {
		c, err := (*tiebackv1.CloseOut)(nil), link.Refusal
		if err == nil {
			c, err = work(link)
		}
		if err != nil {
			if c, err = Refused(link.Record, link.Detail, err); err != nil {
				return nil, err
			}
		}
		records = append(records, c)
	}
	return Settle(q, records), nil
}
