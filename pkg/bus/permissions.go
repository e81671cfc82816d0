package bus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
)

// user is what a service does at the broker, from which follows what it may do. Each has an nkey of
// its own; see UsersFile. No one but streams may make, change or delete a stream, a bucket or a durable
// consumer, and no one at all may delete a message. A durable consumer belongs to the service of its name.
//
//	service          writes                                reads, beside its own consumer
//	ingest           deliveries                            nothing
//	fetcher          events; what can't be fetched, dead   which of that is there already; state
//	export … reset   their category's outcomes and dead    which of that is there already; state
//	status-reporter  outcomes (deadlines), closed, dead    events; which of that is there already; state
//	sweep            deliveries, outcomes (swept)          all streams; state
//	lag              nothing                               all streams
//	tieback          replays, what was dealt with; links   all streams; state
//	streams          nothing, but makes them               nothing
//
// What a permission can't do: whoever may send the broker a request at all, or publish, names the subject of
// the answer. So a stolen key can have the broker's own words, never its thief's, put anywhere, and take the
// only place of a subject with them. Readers take what does not parse for what no service of ours wrote;
// what is not closed for it the sweep finds, by its open request detail.
type user struct {
	name    string
	writes  []string // subjects
	asks    []string // whether there is such a message, and which: by its subject
	reads   []Kind   // streams, a few messages at a time, and how far their consumers are
	scans   []Kind   // streams, much at a time: through consumers that end with it
	keys    []string // of the state bucket, that it writes
	state   bool     // reads keys of the state bucket
	lists   bool     // reads many keys of it at once, through such a consumer
	procore bool     // shares Procore's limits with others
	looks   bool     // which streams and consumers there are
	makes   bool
}

// users is the table of them.
func users() []user {
	all := []user{
		{name: "ingest", writes: []string{"tb.delivery.>"}},
		{
			name: "fetcher", writes: []string{"tb.event.>", "tb.outcome._.>", "tb.dead._.>"},
			asks: []string{"tb.event.>", "tb.outcome._.>", "tb.dead._.>"}, state: true, procore: true,
		},
	}
	for _, c := range catalogue.Categories {
		all = append(all, worker(c))
	}
	return append(all,
		user{
			name: "status-reporter", writes: []string{"tb.outcome.>", "tb.closed.>", "tb.dead.>"},
			reads: []Kind{Event}, asks: []string{"tb.outcome.>", "tb.closed.>", "tb.dead.>"}, state: true, keys: []string{"link.>"}, procore: true,
		},
		user{
			name: "sweep", writes: []string{"tb.delivery.>", "tb.outcome._.>"}, scans: Kinds,
			state: true, keys: []string{swept}, procore: true,
		},
		user{name: "lag", reads: Kinds},
		user{
			name: "tieback", writes: []string{"tb.dealt.>", "tb.delivery.>", "tb.event.>", "tb.outcome.>"}, scans: Kinds,
			state: true, lists: true, keys: []string{"link.>", swept}, procore: true, looks: true,
		},
		user{name: "streams", makes: true},
	)
}

// swept is the sweep's key of a company.
const swept = "cursor.*.swept"

func worker(c catalogue.Category) user {
	ends := []string{fmt.Sprintf("tb.outcome.%s.>", c), fmt.Sprintf("tb.dead.%s.>", c), "tb.outcome._.>", "tb.dead._.>"} // of a type it does not know, too
	u := user{name: string(c), writes: ends, asks: ends, state: true, procore: true}
	switch c {
	case catalogue.Export:
		u.keys = []string{"life.>"}
	case catalogue.Sync, catalogue.Import:
		u.keys, u.lists = []string{"cursor.>"}, true
	case catalogue.Unlink:
		u.keys = []string{"life.>", "cursor.>"}
	case catalogue.Reset:
		u.keys, u.lists = []string{"life.>", "cursor.>"}, true
	}
	return u
}

// Users are the names of all services that have a user at the broker.
func Users() []string {
	var names []string
	for _, u := range users() {
		names = append(names, u.name)
	}
	return names
}

// CallsProcore says whether a service shares Procore's limits; one that is no user of ours may.
func CallsProcore(service string) bool {
	all := users()
	i := slices.IndexFunc(all, func(u user) bool { return u.name == service })
	return i < 0 || all[i].procore
}

// rights are the subjects that a user may publish to, and those that it may not all the same. It may
// subscribe to its own inbox alone.
type rights struct{ allow, deny []string }

func (u user) rights() rights {
	r := rights{allow: []string{"$JS.API.INFO"}}
	if u.makes {
		r.maker()
		return r
	}
	for _, w := range layout(Options{}) { // to connect is to look whether they are there
		if w.Name != quotaName {
			r.api("STREAM.INFO." + w.Name)
		}
	}
	r.allow = append(r.allow, u.writes...)
	for _, d := range Durables() {
		if d.Name == u.name {
			r.works(d)
			u.keys = append(u.keys, fmt.Sprintf("attempt.%s.%s.*", d.Kind.Stream(), d.Name))
		}
	}
	for _, subject := range u.asks {
		r.api("DIRECT.GET." + Kind(strings.Split(subject, ".")[1]).Stream() + "." + subject)
	}
	for _, k := range u.reads {
		r.reads(k.Stream())
		r.api("CONSUMER.INFO." + k.Stream() + ".*")
	}
	for _, k := range u.scans {
		r.scans(k.Stream())
		for _, d := range Durables() {
			if d.Kind == k {
				r.denyDurable(d)
			}
		}
	}
	u.buckets(&r)
	if u.looks {
		r.api("STREAM.LIST", "STREAM.NAMES", "CONSUMER.LIST.*", "CONSUMER.NAMES.*")
	}
	return r
}

func (u user) buckets(r *rights) {
	if u.state {
		r.reads(stateName)
	}
	if u.lists {
		r.scans(stateName)
		r.allow = append(r.allow, "$JS.FC."+stateName+".>", "$JS.FC.*.*."+stateName+".>") // a push consumer's flow control
	}
	if u.procore { // what may call Procore or an ERP says what is wrong with them
		u.keys = append(u.keys, "trouble.*.*."+u.name)
	}
	for _, key := range u.keys {
		r.allow = append(r.allow, "$KV."+bucket+"."+key)
		if key == "cursor.>" {
			r.deny = append(r.deny, "$KV."+bucket+"."+swept)
		}
	}
	if u.procore {
		r.api("STREAM.INFO." + quotaName)
		r.reads(quotaName)
		r.allow = append(r.allow, "$KV."+quotaBucket+".>")
	}
}

func (r *rights) api(subjects ...string) {
	for _, s := range subjects {
		r.allow = append(r.allow, "$JS.API."+s)
	}
}

// works is what a durable consumer's service needs: to pull, and to settle what it pulled. Acks come in
// two shapes, the longer with domain and account before the stream. Each is told by its number of tokens, or
// else one consumer's could be read as the other shape of another's.
func (r *rights) works(d Durable) {
	of := d.Kind.Stream() + "." + d.Name
	r.api("CONSUMER.INFO."+of, "CONSUMER.MSG.NEXT."+of)
	r.allow = append(r.allow, "$JS.ACK."+of+".*.*.*.*.*", "$JS.ACK.*.*."+of+".*.*.*.*.>")
}

// reads is to read messages by sequence or subject.
func (r *rights) reads(stream string) {
	r.api("STREAM.MSG.GET."+stream, "DIRECT.GET."+stream, "DIRECT.GET."+stream+".>")
}

// scans is to read through consumers that end with the reader, whose names nobody knows before.
func (r *rights) scans(stream string) {
	r.reads(stream)
	r.api("CONSUMER.CREATE."+stream+".>", "CONSUMER.INFO."+stream+".*", "CONSUMER.MSG.NEXT."+stream+".*", "CONSUMER.DELETE."+stream+".*")
}

// denyDurable keeps a reader's hands off a durable consumer.
func (r *rights) denyDurable(d Durable) {
	of := d.Kind.Stream() + "." + d.Name
	for _, verb := range []string{"CREATE." + of, "CREATE." + of + ".>", "MSG.NEXT." + of, "DELETE." + of} {
		r.deny = append(r.deny, "$JS.API.CONSUMER."+verb)
	}
}

// maker is to make what there is, and no more than that.
func (r *rights) maker() {
	for _, w := range layout(Options{}) {
		r.api("STREAM.INFO."+w.Name, "STREAM.CREATE."+w.Name, "STREAM.UPDATE."+w.Name)
		if w.forgettable {
			r.api("STREAM.DELETE." + w.Name)
		}
	}
	for _, d := range Durables() {
		of := d.Kind.Stream() + "." + d.Name
		r.api("CONSUMER.INFO."+of, "CONSUMER.CREATE."+of, "CONSUMER.CREATE."+of+".>")
	}
}

func inbox(service string) string { return "_INBOX_" + service }
