package dead

import (
	"encoding/json"
	"time"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The documents' field names are stable.

type listDoc struct {
	Letters []letterDoc    `json:"letters"`
	Causes  map[string]int `json:"causes"` // how many of each; every cause is there
	Total   int            `json:"total"`
}

type letterDoc struct {
	ID       uint64       `json:"id"`
	At       time.Time    `json:"at"`
	State    string       `json:"state"` // open, cut off, replayed, discarded
	Company  int64        `json:"company"`
	Request  int64        `json:"request"`
	Type     string       `json:"type"`
	Category string       `json:"category"`
	Stop     string       `json:"stop"`
	Class    string       `json:"class"`
	Cause    string       `json:"cause"`
	Attempts int32        `json:"attempts"`
	Error    string       `json:"error"`
	Sentence string       `json:"sentence"`
	Subject  string       `json:"subject"`
	Dealings []dealingDoc `json:"dealings"`
}

type dealingDoc struct {
	Action     string    `json:"action"` // replayed, discarded
	Who        string    `json:"who"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason,omitempty"`
	Subject    string    `json:"subject,omitempty"`    // of the replay
	Difference string    `json:"difference,omitempty"` // of an edit
}

func listed(letters []request.DeadLetter) listDoc {
	doc := listDoc{Letters: []letterDoc{}, Causes: map[string]int{}, Total: len(letters)}
	for _, c := range request.Causes {
		doc.Causes[c] = 0
	}
	for _, l := range letters {
		doc.Causes[l.Cause()]++
		doc.Letters = append(doc.Letters, letterOf(l))
	}
	return doc
}

func letterOf(l request.DeadLetter) letterDoc {
	doc := letterDoc{
		ID: l.ID, At: l.At.UTC(), State: string(l.State), Company: l.CompanyId, Request: l.ErpRequestId, Type: l.Type, Category: string(l.Category()),
		Stop: l.Stage, Class: request.ClassName(l.Class), Cause: l.Cause(), Attempts: l.Attempts, Error: l.Error, Sentence: l.UserMessage, Subject: l.Subject,
		Dealings: []dealingDoc{},
	}
	for _, d := range l.Resolutions {
		doc.Dealings = append(doc.Dealings, dealingOf(d))
	}
	return doc
}

func dealingOf(d *tiebackv1.Resolution) dealingDoc {
	doc := dealingDoc{Action: request.ActionName(d.Action), Who: d.Who, Reason: d.Reason, Subject: d.Subject, Difference: d.Difference}
	if d.At.IsValid() { // else it tells no time, or one that JSON can't hold
		doc.At = d.At.AsTime()
	}
	return doc
}

type showDoc struct {
	letterDoc
	Message    json.RawMessage `json:"message"`      // of an event its payload; null where it is no JSON
	Text       string          `json:"message_text"` // the same as show prints it; a quoted string where it does not parse
	Replayable bool            `json:"replayable"`   // as it is
	Why        string          `json:"why,omitempty"`
	Reported   string          `json:"reported_to_accountant"` // yes, pending, no
	Messages   []string        `json:"reported_messages"`      // shown in Procore, or to be shown
	History    []stepDoc       `json:"history"`
	Stands     []standDoc      `json:"stands"`
}

type stepDoc struct {
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	Run      string    `json:"run"` // "": the first
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"sequence"`
	What     string    `json:"what"`
}

type standDoc struct {
	Run string    `json:"run"`
	At  time.Time `json:"at"`
	How string    `json:"how"`
}

func (s *shown) doc() showDoc {
	doc := showDoc{letterDoc: letterOf(s.letter), Text: s.text, Replayable: s.why == nil, Messages: []string{}, History: []stepDoc{}, Stands: []standDoc{}}
	if json.Valid([]byte(s.text)) && s.text[0] != '"' {
		doc.Message = json.RawMessage(s.text)
	}
	if s.why != nil {
		doc.Why = s.why.Error()
	}
	reported, messages := request.ShownOf(s.letter, s.history)
	doc.Reported, doc.Messages = string(reported), append(doc.Messages, messages...)
	for _, st := range s.history {
		doc.History = append(doc.History, stepDoc{At: st.At.UTC(), Kind: string(st.Kind), Run: st.Run, Subject: st.Subject, Sequence: st.Sequence, What: st.Text()})
	}
	for _, st := range s.runs {
		doc.Stands = append(doc.Stands, standDoc{Run: st.Run, At: st.At.UTC(), How: st.Text})
	}
	return doc
}

type resultsDoc struct {
	Results []resultDoc `json:"results"`
	Done    int         `json:"done"`
	Failed  int         `json:"failed"`
}

type resultDoc struct {
	ID      uint64      `json:"id"`
	Done    bool        `json:"done"`
	Mended  bool        `json:"mended,omitempty"` // an earlier replay that was cut off was sent now
	Dealing *dealingDoc `json:"dealing,omitempty"`
	Error   string      `json:"error,omitempty"`
	End     *endDoc     `json:"end,omitempty"` // with --wait
}

type endDoc struct {
	At     time.Time `json:"at"`
	Closed bool      `json:"closed"`           // false: given up again
	Letter uint64    `json:"letter,omitempty"` // the new one
	How    string    `json:"how"`
}
