package fault

import "errors"

// Source is the system whose answer, or silence, an error reports.
type Source string

// The systems that Tieback stands between; "" is Tieback itself.
const (
	FromProcore Source = "procore"
	FromERP     Source = "erp"
)

// From notes where err came from, keeping its class. Its texts are those of Clean. An error that says already
// where it came from is only cleaned; nil stays nil.
func From(source Source, err error) error {
	err = Clean(err)
	if err == nil || SourceOf(err) != "" {
		return err
	}
	return &Error{
		Class: ClassOf(err), UserMessage: UserMessage(err, ""), Field: Field(err), RetryAfter: RetryAfter(err), Source: source,
		Reason: ReasonOf(err), Since: SinceOf(err), Err: err,
	}
}

// SourceOf is the system that err came from; "": Tieback's own, or unknown.
func SourceOf(err error) Source {
	var e *Error
	if errors.As(err, &e) {
		return e.Source
	}
	return ""
}

// Cause is where the trouble lies: who can mend it.
type Cause int

// The causes, for dead letters and metrics.
const (
	Ours       Cause = iota // Tieback, its settings, or a message that no service of ours wrote
	TenantData              // the record: the accountant can mend it
	ERP
	Procore
	Limits
)

func (c Cause) String() string {
	return [...]string{"ours", "tenant data", "erp", "procore", "limits"}[c]
}

// CauseOf finds an error's cause:
//
//	throttled, but for want of an answer          limits
//	permanent, about a field or told in words     tenant data, unless Procore refused it
//	else                                          by its source
func CauseOf(err error) Cause {
	class, source := ClassOf(err), SourceOf(err)
	switch {
	case class == Throttled && ReasonOf(err) != NoAnswer:
		return Limits
	case source == FromProcore:
		return Procore
	case class == Permanent && UserMessage(err, "") != "":
		return TenantData
	case source == FromERP:
		return ERP
	}
	return Ours
}
