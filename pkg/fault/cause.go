package fault

// Source is the system that caused an error.
type Source string

// The sources; "" is Tieback itself.
const (
	FromProcore Source = "procore"
	FromERP     Source = "erp"
)

// From returns err with its source, with the same class. Its texts are sanitized as by Clean. An error that
// already has a source is only sanitized. From returns nil for nil.
func From(source Source, err error) error {
	err = Clean(err)
	if err == nil || SourceOf(err) != "" {
		return err
	}
	e := around(err)
	e.Source = source
	return e
}

// SourceOf returns the source of err, or "" if it is Tieback itself or unknown.
func SourceOf(err error) Source { return outermost(err).Source }

// Cause is the part of the system that must be corrected.
type Cause int

// The causes, for dead letters and metrics.
const (
	Tieback     Cause = iota // Tieback, its settings, or a message that no service of Tieback published
	CompanyData              // the record: the accountant can correct it
	ERP
	Procore
	Limits
)

func (c Cause) String() string {
	return [...]string{"tieback", "company data", "erp", "procore", "limits"}[c]
}

// CauseOf returns the cause of an error:
//
//	throttled, except if there was no answer         limits
//	permanent, with a field or a message for users   company data, unless Procore refused it
//	any other                                        by its source
func CauseOf(err error) Cause {
	class, source := ClassOf(err), SourceOf(err)
	switch {
	case class == Throttled && ReasonOf(err) != NoAnswer:
		return Limits
	case source == FromProcore:
		return Procore
	case class == Permanent && UserMessage(err, "") != "":
		return CompanyData
	case source == FromERP:
		return ERP
	}
	return Tieback
}
