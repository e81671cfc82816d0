package delivery

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	v2 = `{"id":7,"ulid":"01J","event_type":"create","resource_name":"ERP Requests","resource_id":9007199254740993,"company_id":598134325841112,"project_id":null,"user_id":5,"timestamp":"2026-11-23T10:00:00Z","metadata":{}}`
	v3 = `{"id":7,"ulid":"01J","event_type":"create","resource_name":"ERP Requests","resource_id":9007199254740993,"company_id":598134325841112,"project_id":3,"user_id":5,"timestamp":"2026-11-23T10:00:00Z","metadata":{},"related_resources":[{"id":1,"name":"x"}]}`
	v4 = `{"id":"01J","reason":"create","resource_type":"ERP Requests","resource_id":"9007199254740993","company_id":"598134325841112","project_id":"3","user_id":"5","timestamp":"2026-11-23T10:00:00Z"}`
)

func TestEachShapeOfADeliveryIsTheSameDelivery(t *testing.T) {
	for version, body := range map[string]string{"v2.0": v2, "v3.0": v3, "v4.0": v4} {
		d, err := Parse([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		if d.CompanyId != 598134325841112 || d.ErpRequestId != 9007199254740993 || d.EventId != "01J" || d.ApiVersion != version || d.UserId != 5 {
			t.Errorf("%s: %v", version, d)
		}
		if got := d.OccurredAt.AsTime().Unix(); got != 1795428000 {
			t.Errorf("%s: occurred at %d", version, got)
		}
	}
}

// The time orders the company's requests: the timestamp's microseconds, or else the ULID's milliseconds.
func TestWhenADeliveryOccurred(t *testing.T) {
	const ulid = "01M83XJ8YFPPZJ1AYTCHF7E4KQ" // 2026-11-23T10:00:00.719Z
	for name, c := range map[string]struct{ ulid, timestamp, want string }{
		"microseconds":                            {ulid, "2026-11-23T10:00:00.123456Z", "2026-11-23T10:00:00.123456Z"},
		"a fraction of zero":                      {ulid, "2026-11-23T10:00:00.000000Z", "2026-11-23T10:00:00Z"},
		"another zone":                            {ulid, "2026-11-23T04:00:00.5-06:00", "2026-11-23T10:00:00.5Z"},
		"seconds only, and a ULID":                {ulid, "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.719Z"},
		"seconds only, a ULID of another second":  {ulid, "2026-11-23T10:00:03Z", "2026-11-23T10:00:03Z"},
		"seconds only, and no ULID":               {"01J", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00Z"},
		"no timestamp, and a ULID":                {ulid, "soon", "2026-11-23T10:00:00.719Z"},
		"neither":                                 {"01J", "soon", ""},
		"no ULID: a letter that it does not have": {"01M83XJ8YI" + ulid[10:], "soon", ""},
		"no ULID: more than 48 bits":              {"8" + ulid[1:], "soon", ""},
	} {
		for version, body := range map[string]string{"v2.0": v2, "v3.0": v3, "v4.0": v4} {
			body = strings.NewReplacer("01J", c.ulid, "2026-11-23T10:00:00Z", c.timestamp).Replace(body)
			for way, parse := range map[string]func([]byte) (*tiebackv1.Delivery, error){"webhook": Parse, "list": ParseLogged} {
				d, err := parse([]byte(body))
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				if d.OccurredAt != nil {
					got = d.OccurredAt.AsTime().Format(time.RFC3339Nano)
				}
				if got != c.want {
					t.Errorf("%s, %s, %s: %q, want %q", name, version, way, got, c.want)
				}
			}
		}
	}
}

func TestWhatIsNotADeliveryIsRefusedWithASentence(t *testing.T) {
	for name, c := range map[string]struct{ body, says string }{
		"not JSON":            {`hello`, "not a delivery in JSON"},
		"an array":            {`[]`, "not a delivery in JSON"},
		"no resource":         {`{"event_type":"create"}`, "names no resource_name"},
		"no company":          {strings.Replace(v2, `"company_id":598134325841112,`, "", 1), "company_id is missing"},
		"no request":          {strings.Replace(v2, `"resource_id":9007199254740993,`, "", 1), "resource_id is missing"},
		"id of no integer":    {strings.Replace(v4, `"9007199254740993"`, `"12a"`, 1), "resource_id must be"},
		"id past 64 bits":     {strings.Replace(v2, "9007199254740993", "92233720368547758070", 1), "resource_id must be"},
		"a float for an id":   {strings.Replace(v2, "9007199254740993", "1.5", 1), "resource_id must be"},
		"negative":            {strings.Replace(v2, "9007199254740993", "-4", 1), "resource_id must be"},
		"an object for an id": {strings.Replace(v2, "9007199254740993", "{}", 1), "resource_id must be"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(c.body)); err == nil || errors.Is(err, ErrOther) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestOtherResourcesAndEventsAreNotOurs(t *testing.T) {
	for _, body := range []string{
		strings.Replace(v2, "ERP Requests", "Projects", 1),
		strings.Replace(v2, `"create"`, `"update"`, 1),
		strings.Replace(v4, `"create"`, `"delete"`, 1),
	} {
		if _, err := Parse([]byte(body)); !errors.Is(err, ErrOther) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// One refusal pauses a company's hook: what we do not need must not cause it.
func TestOddFieldsThatNobodyNeedsDoNotRefuseADelivery(t *testing.T) {
	for _, odd := range []string{
		strings.Replace(v2, `"2026-11-23T10:00:00Z"`, `"2026-11-23 10:00:00 UTC"`, 1),
		strings.Replace(v2, `"2026-11-23T10:00:00Z"`, `1795428000`, 1),
		strings.Replace(v2, `"01J"`, `17`, 1),
		strings.Replace(v2, `"user_id":5`, `"user_id":{}`, 1),
		strings.Replace(v3, `[{"id":1,"name":"x"}]`, `{}`, 1),
	} {
		if d, err := Parse([]byte(odd)); err != nil || d.ErpRequestId != 9007199254740993 {
			t.Errorf("%s: %v", odd, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{v2, v3, v4, `{}`, `[]`, `null`, `{"resource_id":1e400}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := Parse(body)
		if err == nil && (d.CompanyId <= 0 || d.ErpRequestId <= 0) {
			t.Errorf("accepted %q as %v", body, d)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse([]byte(v4)); err != nil {
			b.Fatal(err)
		}
	}
}
