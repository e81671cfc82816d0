package dead

import (
	"encoding/json"
	"time"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

type listDoc struct {
	DeadLetters []deadLetterDoc `json:"dead_letters"`
	Causes      map[string]int  `json:"causes"` // the number of each cause, zeros too
	Total       int             `json:"total"`
}

type deadLetterDoc struct {
	ID          uint64          `json:"id"`
	At          time.Time       `json:"at"`
	State       string          `json:"state"` // open, interrupted, replayed, discarded
	Company     int64           `json:"company"`
	Request     int64           `json:"request"`
	Type        string          `json:"type"`
	Category    string          `json:"category"`
	Stage       string          `json:"stage"`
	Class       string          `json:"class"`
	Cause       string          `json:"cause"`
	Attempts    int32           `json:"attempts"`
	Error       string          `json:"error"`
	UserMessage string          `json:"user_message"` // for the accountant
	Subject     string          `json:"subject"`
	Resolutions []resolutionDoc `json:"resolutions"`
}

type resolutionDoc struct {
	Action     string    `json:"action"` // replayed, discarded
	Who        string    `json:"who"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason,omitempty"`
	Subject    string    `json:"subject,omitempty"`    // of the replay
	Difference string    `json:"difference,omitempty"` // of an edit
}

func listed(letters []request.DeadLetter) listDoc {
	doc := listDoc{DeadLetters: []deadLetterDoc{}, Causes: map[string]int{}, Total: len(letters)}
	for _, c := range request.Causes {
		doc.Causes[c] = 0
	}
	for _, l := range letters {
		doc.Causes[l.Cause()]++
		doc.DeadLetters = append(doc.DeadLetters, docOf(l))
	}
	return doc
}

func docOf(l request.DeadLetter) deadLetterDoc {
	doc := deadLetterDoc{
		ID: l.ID, At: l.At.UTC(), State: string(l.State), Company: l.CompanyId, Request: l.ErpRequestId, Type: l.Type, Category: string(l.Category()),
		Stage: l.Stage, Class: request.ClassName(l.Class), Cause: l.Cause(), Attempts: l.Attempts, Error: l.Error, UserMessage: l.UserMessage, Subject: l.Subject,
		Resolutions: []resolutionDoc{},
	}
	for _, d := range l.Resolutions {
		doc.Resolutions = append(doc.Resolutions, resolutionOf(d))
	}
	return doc
}

func resolutionOf(d *tiebackv1.Resolution) resolutionDoc {
	doc := resolutionDoc{Action: request.ActionName(d.Action), Who: d.Who, Reason: d.Reason, Subject: d.Subject, Difference: d.Difference}
	if d.At.IsValid() { // JSON can't represent an invalid time
		doc.At = d.At.AsTime()
	}
	return doc
}

type showDoc struct {
	deadLetterDoc
	Message    json.RawMessage `json:"message"`      // an event's payload; null if it is not JSON
	Text       string          `json:"message_text"` // as tieback dead show prints it; a quoted string if it is malformed
	Replayable bool            `json:"replayable"`   // unchanged
	Why        string          `json:"why,omitempty"`
	Reported   string          `json:"reported_to_accountant"` // yes, pending, no
	Messages   []string        `json:"reported_messages"`      // that Procore shows, or will show
	History    []stepDoc       `json:"history"`
	Runs       []runDoc        `json:"runs"`
}

type stepDoc struct {
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	Run      string    `json:"run"` // "" for the first
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"sequence"`
	Text     string    `json:"text"`
}

type runDoc struct {
	Run  string    `json:"run"`
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

func (s *shown) doc() showDoc {
	doc := showDoc{deadLetterDoc: docOf(s.letter), Text: s.text, Replayable: s.why == nil, Messages: []string{}, History: []stepDoc{}, Runs: []runDoc{}}
	if json.Valid([]byte(s.text)) && s.text[0] != '"' {
		doc.Message = json.RawMessage(s.text)
	}
	if s.why != nil {
		doc.Why = s.why.Error()
	}
	reported, messages := request.ShownOf(s.letter, s.history)
	doc.Reported, doc.Messages = string(reported), append(doc.Messages, messages...)
	for _, st := range s.history {
		doc.History = append(doc.History, stepDoc{At: st.At.UTC(), Kind: string(st.Kind), Run: st.Run, Subject: st.Subject, Sequence: st.Sequence, Text: st.Text()})
	}
	for _, st := range s.runs {
		doc.Runs = append(doc.Runs, runDoc{Run: st.Run, At: st.At.UTC(), Text: st.Text})
	}
	return doc
}

type resultsDoc struct {
	Results []resultDoc `json:"results"`
	Done    int         `json:"done"`
	Failed  int         `json:"failed"`
}

type resultDoc struct {
	ID         uint64         `json:"id"`
	Done       bool           `json:"done"`
	Resumed    bool           `json:"resumed,omitempty"` // an earlier replay was interrupted and has been sent now
	Resolution *resolutionDoc `json:"resolution,omitempty"`
	Error      string         `json:"error,omitempty"`
	End        *endDoc        `json:"end,omitempty"` // with --wait
}

type endDoc struct {
	At         time.Time `json:"at"`
	Closed     bool      `json:"closed"`                // false if it failed for good again
	DeadLetter uint64    `json:"dead_letter,omitempty"` // the new one, if closed is false
	Text       string    `json:"text"`
}
