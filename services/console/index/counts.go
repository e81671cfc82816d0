package index

import (
	"context"
	"database/sql"
	"slices"
	"time"
)

// Counts are totals of requests.
type Counts struct {
	States map[int64]map[State]int64 // by company
	Series []Minute                  // of all companies together, the last 60 minutes, the oldest first
}

// Minute is what happened in a minute of the broker's clock.
type Minute struct {
	At                       time.Time // its beginning
	Received, Closed, Failed int64     // requests that arrived; ends that were reported to Procore, and those of them as failed
}

// seriesLength is how long the series of Counts is.
const seriesLength = time.Hour

// Counts returns the totals of companies; nil: of all. After the index was built again, the series begins with the messages
// that the streams have.
func (x *Index) Counts(ctx context.Context, companies []int64) (Counts, error) {
	c := Counts{States: map[int64]map[State]int64{}}
	first := time.Now().UTC().Truncate(time.Minute).Add(time.Minute - seriesLength)
	for at := first; len(c.Series) < int(seriesLength/time.Minute); at = at.Add(time.Minute) {
		c.Series = append(c.Series, Minute{At: at})
	}
	hidden := func(company int64) bool { return companies != nil && !slices.Contains(companies, company) }
	err := x.reading(func(db *sql.DB) error {
		err := eachRow(ctx, db, "SELECT company, state, n FROM counts WHERE n > 0", func(scan func(...any) error) error {
			var company, n int64
			var state int
			if err := scan(&company, &state, &n); err != nil || hidden(company) {
				return err
			}
			if c.States[company] == nil {
				c.States[company] = map[State]int64{}
			}
			c.States[company][States[state]] = n
			return nil
		})
		if err != nil {
			return err
		}
		return eachRow(ctx, db, "SELECT minute, company, received, closed, failed FROM minutes WHERE minute >= ?", func(scan func(...any) error) error {
			var minute, company int64
			var m Minute
			if err := scan(&minute, &company, &m.Received, &m.Closed, &m.Failed); err != nil || hidden(company) {
				return err
			}
			if i := minute - first.Unix()/60; i < int64(len(c.Series)) {
				s := &c.Series[i]
				s.Received, s.Closed, s.Failed = s.Received+m.Received, s.Closed+m.Closed, s.Failed+m.Failed
			}
			return nil
		}, first.Unix()/60)
	})
	return c, err
}
