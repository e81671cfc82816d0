package company

import (
	"errors"
	"time"
)

// ParseZone returns the time zone of an IANA name, such as America/Chicago; "" is UTC. The error does not
// contain the name: in a companies file it may be a secret in the wrong field.
func ParseZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // Local depends on the machine
		return nil, errors.New("must be the IANA name of a time zone, such as America/Chicago")
	}
	return zone, nil
}
