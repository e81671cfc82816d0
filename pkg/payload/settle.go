package payload

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Refused turns a permanent refusal of one record that has a message for the accountant into a failed
// close-out. It returns any other error.
func Refused(r *tiebackv1.Record, detail int64, err error) (*tiebackv1.CloseOut, error) {
	message := fault.UserMessage(err, "")
	if fault.ClassOf(err) != fault.Permanent || message == "" {
		return nil, err
	}
	if !names(r, message) {
		message = connector.Describe(r) + ": " + message
	}
	return &tiebackv1.CloseOut{
		RequestDetailId: detail, Status: tiebackv1.Status_STATUS_FAILED, Messages: []string{message}, Record: connector.Describe(r),
	}, nil
}

// names reports whether a message contains the name of the record.
func names(r *tiebackv1.Record, message string) bool {
	return slices.ContainsFunc([]string{r.Name, r.Code, r.Number, r.OriginId}, func(s string) bool {
		return s != "" && strings.Contains(message, s)
	})
}

// Settle returns the close-outs of all request details of the payload, given one close-out for each record.
// Records without a detail of their own share the event's detail:
//
//	all records of a detail booked   one close-out, success, with the marks of all records
//	some refused                     the detail fails with the reasons; a close-out without a
//	                                 detail marks the records that were booked
//	no detail in the payload         each record keeps its own close-out
func Settle(q Request, records []*tiebackv1.CloseOut) []*tiebackv1.CloseOut {
	open := slices.Clone(q.Details)
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

// group merges the records of the same detail, in order.
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

// merge makes one close-out of the records of a detail, or two if some were refused.
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

// maxMessages is the number of reasons shown for one request detail.
const maxMessages = 20

// verdict returns the combined result of records, with the distinct messages of those that failed or, if none
// failed, of all.
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

// Each calls handle for each link and settles the request with the results. A refusal affects its record
// only; Each returns any other error.
func Each(q Request, links []Link, handle func(Link) (*tiebackv1.CloseOut, error)) ([]*tiebackv1.CloseOut, error) {
	var records []*tiebackv1.CloseOut
	for _, link := range links {
		c, err := (*tiebackv1.CloseOut)(nil), link.Refusal
		if err == nil {
			c, err = handle(link)
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
