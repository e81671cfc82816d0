package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
)

// user declares what a service does at the broker; its permissions follow from that. Each service has its own nkey and
// account; see UsersFile. The streams are in the account tiebackAccount, which has no user but CopyUsers. A service's account imports
// exactly the subjects that its user may request:
//
//	service          writes                                reads, beside its own consumer
//	ingest           deliveries                            newest message of a subject that it writes
//	fetcher          events; dead letters                  newest message of a subject that it writes, or of tb.closed; state
//	export … reset   their category's outcomes and dead    newest message of a subject that they write; state
//	status-reporter  outcomes (deadlines), closed, dead    events; newest message of a subject that it writes; state
//	sweep            deliveries, outcomes (swept);         all streams; state
//	                 removes old messages; see bus.Remover
//	lag-exporter     watermarks                            all streams
//	console          replays, resolutions, deliveries      all streams; state
//	                 (sweep); links, pauses, retries
//	tieback          replays, resolutions; links           all streams; state
//	provisioner      nothing, but creates streams          nothing
//
// Permissions alone are not enough: JetStream publishes a reply, with JetStream's own rights, to any subject that the
// requester names. Within one account, a service with read access could therefore make a reply act as a command. Between
// accounts the broker replaces the reply subject and delivers the reply in the requester's account, where it can
// reach only subjects that the service may publish to anyway.
//
// Permissions restrict subjects, not contents. Any worker may publish an outcome for any request under "_". The
// status-reporter therefore refuses an outcome with contents that its subject does not permit; see admit there.
//
// Only the provisioner may create, change or delete a stream, a bucket or a consumer. Scans therefore use direct gets and
// no consumers: a service could choose a consumer's deliver subject freely, and so make a message act as a command.
type user struct {
	name             string
	writes           []string // subjects
	lookups          []string // subjects of which it reads the newest message
	reads            []Kind   // whole streams, and the state of their consumers
	keys             []string // keys of the state bucket that it writes
	readsState       bool     // all keys of the state bucket
	procore          bool     // calls Procore, and shares its rate limits with other services
	readsWatermarks  bool     // of all streams
	writesWatermarks bool     // of all streams
	inspects         bool     // lists streams and consumers
	removes          bool     // purges the streams of the kinds that have a retention
	provisions       bool
}

// users returns the users of all services.
func users() []user {
	all := []user{
		{name: "ingest", writes: []string{"tb.delivery.>"}, lookups: []string{"tb.delivery.>"}},
		{
			name: "fetcher", writes: []string{"tb.event.>", "tb.outcome._._.>", "tb.dead._._.>"},
			lookups: []string{"tb.event.>", "tb.outcome._._.>", "tb.closed.>", "tb.dead._._.>"}, readsState: true, procore: true,
		},
	}
	for _, c := range catalogue.Categories {
		all = append(all, worker(c))
	}
	return append(all,
		user{
			name: "status-reporter", writes: []string{"tb.outcome.>", "tb.closed.>", "tb.dead.>"},
			reads: []Kind{Event}, lookups: []string{"tb.outcome.>", "tb.closed.>", "tb.dead.>"}, readsState: true, keys: []string{"link.>"}, procore: true,
		},
		user{
			name: "sweep", writes: []string{"tb.delivery.>", "tb.outcome._._.*.*.swept"}, reads: Kinds,
			readsState: true, keys: []string{swept}, procore: true, removes: true,
		},
		user{name: "lag-exporter", reads: Kinds, readsWatermarks: true, writesWatermarks: true},
		user{
			// Its event and outcome subjects must have a run: it may publish replays and the sweep's outcomes, but no first run.
			name: "console", writes: []string{"tb.resolution.>", "tb.delivery.>", "tb.event.*.*.*.*.*", "tb.outcome.*.*.*.*.*"}, reads: Kinds,
			readsState: true, keys: []string{"link.>", swept, "pauses", "retries"}, procore: true, readsWatermarks: true,
		},
		user{
			name: "tieback", writes: []string{"tb.resolution.>", "tb.delivery.>", "tb.event.>", "tb.outcome.>"}, reads: Kinds,
			readsState: true, keys: []string{"link.>", swept}, procore: true, inspects: true, readsWatermarks: true, writesWatermarks: true,
		},
		user{name: "provisioner", provisions: true},
	)
}

// swept matches the sweep's checkpoints, one key for each company.
const swept = "swept.>"

// worker returns the user of a category's worker. If a worker can't parse the subject of an event, it publishes the outcome
// under "_". There it may publish only subjects without a run, and the status-reporter accepts only failures.
func worker(c catalogue.Category) user {
	ends := []string{fmt.Sprintf("tb.outcome.%s.>", c), fmt.Sprintf("tb.dead.%s.>", c), "tb.outcome._._.*.*", "tb.dead._._.*.*"}
	u := user{name: string(c), writes: ends, lookups: ends, readsState: true, procore: true}
	switch c {
	case catalogue.Export:
		u.keys = []string{"generation.>"}
	case catalogue.Sync, catalogue.Import:
		u.keys = []string{"cursor.>"}
	case catalogue.Unlink:
		u.keys = []string{"generation.>", "cursor.>"}
	case catalogue.Reset:
		u.keys = []string{"generation.>", "cursor.>"}
	}
	return u
}

// Users returns the names of all services that have a user at the broker.
func Users() []string {
	var names []string
	for _, u := range users() {
		names = append(names, u.name)
	}
	return names
}

// CopyUsers returns the names of the users of `tieback backup` and `tieback restore`. They have keys only if an operator asked for
// them (provisioner keys --backup).
//
// They are in the account of the streams, because JetStream sends the content of a snapshot to a subject of that account, which
// the requester chooses, with JetStream's own rights. So the key backup could make the broker send parts of a snapshot to any
// subject: treat it like the key of the provisioner. Beside that it may write one key, BackupKey. The key restore can create streams with any content.
func CopyUsers() []string { return []string{"backup", "restore"} }

// copySubjects returns the subjects to which a user of CopyUsers may publish.
func copySubjects(user string) []string {
	subjects := []string{JetStreamAPI + ".INFO"}
	if user == "backup" {
		subjects = append(subjects, Seen.Subject(BackupKey))
	}
	for _, s := range Streams(Config{}) {
		if s.Volatile {
			continue
		}
		subjects = append(subjects, JetStreamAPI+".STREAM.INFO."+s.Name)
		if user == "backup" {
			subjects = append(subjects, JetStreamAPI+".STREAM.SNAPSHOT."+s.Name, "$JS.SNAPSHOT.ACK."+s.Name+".>")
		} else {
			subjects = append(subjects, JetStreamAPI+".STREAM.RESTORE."+s.Name, "$JS.SNAPSHOT.RESTORE."+s.Name+".>")
		}
	}
	return subjects
}

// CallsProcore reports whether a service shares Procore's rate limits. It returns true for an unknown service.
func CallsProcore(service string) bool {
	all := users()
	i := slices.IndexFunc(all, func(u user) bool { return u.name == service })
	return i < 0 || all[i].procore
}

// grant is a subject of tiebackAccount that a service may send requests to.
type grant struct {
	subject string
	stream  bool // a request may have several replies
}

// APIPrefix is the prefix by which services reach JetStream's API. $JS.API itself would mean the API of the service's own
// account, which has no JetStream.
const APIPrefix = "tieback.api"

// JetStreamAPI is the prefix of JetStream's API in the account of the streams.
const JetStreamAPI = "$JS.API"

// local returns the subject of the grant in the service's own account.
func (g grant) local() string {
	if rest, ok := strings.CutPrefix(g.subject, JetStreamAPI); ok {
		return APIPrefix + rest
	}
	return g.subject
}

// grants are the permissions of a user.
type grants []grant

func (u user) grants() grants {
	var g grants
	g.addAPI("INFO")
	if u.provisions {
		g.addProvisioning()
		return g
	}
	for _, s := range Streams(Config{}) { // Connect checks that they exist
		if s.Name != Quota.Stream() && s.Name != Seen.Stream() {
			g.addAPI("STREAM.INFO." + s.Name)
		}
	}
	g.addPublish(u.writes...)
	for _, d := range Durables() {
		if d.Name == u.name {
			g.addConsumer(d)
			u.keys = append(u.keys, fmt.Sprintf("attempt.%s.%s.*", d.Kind.Stream(), d.Name))
		}
	}
	for _, subject := range u.lookups {
		g.addAPI("DIRECT.GET." + Kind(strings.Split(subject, ".")[1]).Stream() + "." + subject)
	}
	for _, k := range u.reads {
		g.addRead(k.Stream())
		g.addAPI("CONSUMER.INFO." + k.Stream() + ".*")
	}
	if u.removes {
		for _, k := range Kinds {
			if DefaultRetention.Of(k) > 0 {
				g.addAPI("STREAM.PURGE." + k.Stream())
			}
		}
	}
	u.addBuckets(&g)
	if u.inspects {
		g.addAPI("STREAM.LIST", "STREAM.NAMES", "CONSUMER.LIST.*", "CONSUMER.NAMES.*")
	}
	slices.SortFunc(g, compareGrants)
	return slices.Compact(g)
}

func (u user) addBuckets(g *grants) {
	if u.readsState {
		g.addRead(State.Stream())
	}
	if u.procore { // services that call Procore or an ERP report their troubles
		u.keys = append(u.keys, "trouble.*.*."+u.name)
	}
	for _, key := range u.keys {
		g.addPublish(State.Subject(key))
	}
	if u.readsWatermarks {
		g.addAPI("STREAM.INFO." + Seen.Stream())
		g.addRead(Seen.Stream())
	}
	if u.writesWatermarks {
		g.addPublish(Seen.Subject(">"))
	}
	if u.procore {
		g.addAPI("STREAM.INFO." + Quota.Stream())
		g.addRead(Quota.Stream())
		g.addPublish(Quota.Subject(">"))
	}
}

func (g *grants) addPublish(subjects ...string) {
	for _, s := range subjects {
		*g = append(*g, grant{subject: s})
	}
}

func (g *grants) addAPI(subjects ...string) {
	for _, s := range subjects {
		*g = append(*g, grant{subject: JetStreamAPI + "." + s})
	}
}

// addConsumer adds what the service of a durable consumer needs to pull messages and to ack them. Ack subjects have two forms,
// the longer one with domain and account before the stream. The pattern of the short form has a fixed number of tokens.
// With any number, it could match an ack of another consumer in the long form.
func (g *grants) addConsumer(d Durable) {
	of := d.Kind.Stream() + "." + d.Name
	g.addAPI("CONSUMER.INFO." + of)
	*g = append(*g, grant{subject: JetStreamAPI + ".CONSUMER.MSG.NEXT." + of, stream: true})
	g.addPublish("$JS.ACK."+of+".*.*.*.*.*", "$JS.ACK.*.*."+of+".*.*.*.*.>")
}

// addRead adds reading messages by sequence or subject, one or many at a time.
func (g *grants) addRead(stream string) {
	g.addAPI("STREAM.MSG.GET."+stream, "DIRECT.GET."+stream+".>")
	*g = append(*g, grant{subject: JetStreamAPI + ".DIRECT.GET." + stream, stream: true})
}

// addProvisioning adds creating the streams and the durable consumers, and nothing else.
func (g *grants) addProvisioning() {
	for _, s := range Streams(Config{}) {
		g.addAPI("STREAM.INFO."+s.Name, "STREAM.CREATE."+s.Name, "STREAM.UPDATE."+s.Name)
		if s.Volatile {
			g.addAPI("STREAM.DELETE." + s.Name)
		}
	}
	for _, d := range Durables() {
		of := d.Kind.Stream() + "." + d.Name
		g.addAPI("CONSUMER.INFO."+of, "CONSUMER.CREATE."+of, "CONSUMER.CREATE."+of+".>")
	}
}

// Inbox returns the prefix of the reply subjects that a service may subscribe to.
func Inbox(service string) string { return "_INBOX_" + service }
