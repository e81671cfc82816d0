package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

const (
	lookEvery  = 30 * time.Second // at most; see Notifier.Run
	repeat     = 24 * time.Hour   // something that still needs attention is sent again
	retryAfter = 5 * time.Minute
	maxItems   = 100 // in a message
)

// Notifier sends the messages. Only one process may run it for a file of receivers.
type Notifier struct {
	Config    *Config
	Path      string // the file of Config, which Run rereads; "": it is not read again
	Overview  func(context.Context) (*operatorv1.Overview, error)
	Requests  func(context.Context, *operatorv1.ListRequestsRequest) (*operatorv1.ListRequestsResponse, error)
	Companies company.Set
	File      string // keeps the days of sent digests over a restart
	Log       *zap.Logger

	needs    map[string]time.Time              // since when something needs attention
	sent     map[string]map[string]sentMessage // by receiver
	last     map[string]time.Time              // the last message about attention, by receiver
	paused   map[string]time.Time              // until when a receiver that failed is left alone
	digested map[string]string                 // the day of the last digest, by receiver and company
	changed  *Config                           // what the last look found in the file; nil: no change
	mistake  string                            // in the file, which was logged
}

// sentMessage is when a receiver was sent something, and how many of it there were.
type sentMessage struct {
	at    time.Time
	count uint64
}

// Run sends messages until ctx ends. It looks four times within Config.Wait, and at least every 30 seconds.
func (n *Notifier) Run(ctx context.Context) error {
	if err := n.open(); err != nil {
		return err
	}
	for {
		n.reread()
		n.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(max(n.Config.Wait/4, time.Second), lookEvery)):
		}
	}
}

// reread reads the file and its secrets again. A change is applied when two consecutive looks find the same. A mistake is logged once
// and changes nothing.
func (n *Notifier) reread() {
	if n.Path == "" {
		return
	}
	c, err := Load(n.Path)
	switch {
	case err != nil:
		n.changed = nil
		if n.mistake != err.Error() {
			n.mistake = err.Error()
			n.Log.Error("the changed file of the notifications is invalid and not used: correct it; the receivers of before still apply", zap.Error(err))
		}
		return
	case reflect.DeepEqual(c, n.Config):
		n.changed = nil
	case reflect.DeepEqual(c, n.changed):
		n.Config, n.changed = c, nil
		n.Log.Info("file of the notifications read", zap.Int("receivers", len(c.Receivers)))
	default:
		n.changed = c
	}
	n.mistake = ""
}

func (n *Notifier) open() error {
	n.needs, n.sent, n.last, n.paused, n.digested = map[string]time.Time{}, map[string]map[string]sentMessage{}, map[string]time.Time{}, map[string]time.Time{}, map[string]string{}
	raw, err := os.ReadFile(n.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &n.digested)
	}
	if err != nil {
		return fmt.Errorf("sent digests: %w", err)
	}
	return nil
}

// look sends what is due.
func (n *Notifier) look(ctx context.Context, now time.Time) {
	if o, err := n.Overview(ctx); err != nil {
		n.Log.Warn("notifications: the overview can't be read", zap.Error(err))
	} else {
		n.attention(ctx, now, o)
	}
	for i := range n.Config.Receivers {
		if r := &n.Config.Receivers[i]; slices.Contains(r.Sends, digest) {
			for _, id := range slices.Sorted(maps.Keys(n.Companies)) {
				if r.concerns(id) {
					n.digest(ctx, now, r, n.Companies[id])
				}
			}
		}
	}
}

// attention sends what has needed attention for long enough.
func (n *Notifier) attention(ctx context.Context, now time.Time, o *operatorv1.Overview) {
	items := map[string]*operatorv1.Attention{}
	for _, a := range o.Attention {
		key := fmt.Sprintf("%s %d %s", a.Kind, a.CompanyId, a.Stage)
		items[key] = a
		if _, known := n.needs[key]; !known {
			n.needs[key] = now
		}
	}
	if len(o.Unread) == 0 { // otherwise something may only seem to be over
		maps.DeleteFunc(n.needs, func(key string, _ time.Time) bool { return items[key] == nil })
		for _, sent := range n.sent {
			maps.DeleteFunc(sent, func(key string, _ sentMessage) bool { return items[key] == nil })
		}
	}
	for i := range n.Config.Receivers {
		r := &n.Config.Receivers[i]
		if !slices.Contains(r.Sends, attention) || now.Sub(n.last[r.Name]) < n.Config.Every {
			continue
		}
		var due []string
		for _, key := range slices.Sorted(maps.Keys(items)) {
			before, sent := n.sent[r.Name][key]
			if r.concerns(items[key].CompanyId) && now.Sub(n.needs[key]) >= n.Config.Wait && (!sent || now.Sub(before.at) >= repeat || items[key].Count > before.count) {
				due = append(due, key)
			}
		}
		if len(due) == 0 {
			continue
		}
		m := message{Kind: attention, Title: "something needs attention", Link: n.Config.ConsoleURL}
		for _, key := range due {
			a := items[key]
			i := item{Kind: a.Kind, Company: id(a.CompanyId), Text: n.about(a.CompanyId) + a.Text, Action: a.Action.GetText()}
			if n.Config.ConsoleURL != "" && a.Action.GetPage() != "" {
				i.Link = n.Config.ConsoleURL + a.Action.GetPage()
			}
			m.add(i)
		}
		if !n.send(ctx, now, r, m) {
			continue
		}
		n.last[r.Name] = now
		if n.sent[r.Name] == nil {
			n.sent[r.Name] = map[string]sentMessage{}
		}
		for _, key := range due {
			n.sent[r.Name][key] = sentMessage{now, items[key].Count}
		}
	}
}

// digest sends the failed exports of a company, once a day.
func (n *Notifier) digest(ctx context.Context, now time.Time, r *Receiver, c *company.Company) {
	local := now.In(c.Zone)
	day, key := local.Format(time.DateOnly), r.Name+"/"+id(c.ID)
	midnight := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, c.Zone)
	if local.Before(midnight.Add(n.Config.digest)) || n.digested[key] == day {
		return
	}
	m := message{Kind: digest, Company: id(c.ID), Advice: "Correct each record as its message says, in Procore or in the ERP, and then export it again in Procore."}
	ask := &operatorv1.ListRequestsRequest{
		CompanyIds: []int64{c.ID}, Categories: []string{"export"}, States: []string{"attention", "failed"}, Since: timestamppb.New(now.Add(-24 * time.Hour)), PageSize: 1000,
	}
	for {
		page, err := n.Requests(ctx, ask)
		if err != nil {
			n.Log.Warn("notifications: the failed exports can't be read", zap.Int64("company", c.ID), zap.Error(err))
			return
		}
		if page.IndexedUntil == nil {
			return // the index is being built
		}
		for _, row := range page.Requests {
			if row.Ended != nil { // Procore shows it as failed
				m.add(item{Request: id(row.RequestId), Text: failure(row)})
			}
		}
		if ask.PageToken = page.NextPageToken; ask.PageToken == "" {
			break
		}
	}
	if count := len(m.Items) + m.More; count > 0 {
		exports := "exports"
		if count == 1 {
			exports = "export"
		}
		m.Title = fmt.Sprintf("%s%d %s failed in the last 24 hours", n.about(c.ID), count, exports)
		if n.Config.ConsoleURL != "" {
			m.Link = n.Config.ConsoleURL + "/requests?state=failed&company=" + id(c.ID)
		}
		if !n.send(ctx, now, r, m) {
			return
		}
	}
	n.digested[key] = day
	raw, err := json.Marshal(n.digested)
	if err == nil {
		err = company.WriteFile(n.File, raw)
	}
	if err != nil {
		n.Log.Error("notifications: a sent digest can't be recorded, and is sent again after a restart", zap.Error(err))
	}
}

// failure describes a failed export as its accountant sees it.
func failure(row *operatorv1.RequestRow) string {
	record := row.Record
	if record == "" {
		record = "request " + id(row.RequestId)
		if e, ok := catalogue.Lookup(row.Type); ok {
			record = e.Label() + ", " + record
		}
	}
	return record + ": " + row.Reason
}

func (m *message) add(i item) {
	if len(m.Items) == maxItems {
		m.More++
		return
	}
	m.Items = append(m.Items, i)
}

// send sends a message to a receiver, unless it failed lately. It reports whether the message was sent.
func (n *Notifier) send(ctx context.Context, now time.Time, r *Receiver, m message) bool {
	if now.Before(n.paused[r.Name]) {
		return false
	}
	m.At = now.UTC().Format(time.RFC3339)
	if err := r.send(ctx, m); err != nil {
		n.paused[r.Name] = now.Add(retryAfter)
		n.Log.Warn("a notification could not be sent, and is tried again in 5 minutes", zap.String("receiver", r.Name), zap.String("kind", m.Kind), zap.Error(err))
		return false
	}
	n.Log.Info("sent a notification", zap.String("receiver", r.Name), zap.String("kind", m.Kind), zap.Int("items", len(m.Items)+m.More))
	return true
}

// about returns the beginning of a text about a company; "" for none.
func (n *Notifier) about(company int64) string {
	switch c := n.Companies[company]; {
	case company == 0:
		return ""
	case c == nil || c.Name == "":
		return "company " + id(company) + ": "
	default:
		return c.Name + ": "
	}
}

func id(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
