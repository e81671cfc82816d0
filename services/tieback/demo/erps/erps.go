// Package erps has the ERPs of `tieback demo` other than the embedded ledger. They are apart from package demo because the program
// that `make run` builds first does not contain them.
package erps

import (
	"errors"
	"fmt"

	"github.com/tieback/tieback/services/tieback/demo"
)

// Named returns the ERP of the flags --erp and --address; nil: the embedded ledger.
func Named(name, address string) (demo.ERP, error) {
	switch {
	case name == "remote":
		return remoteERP(address), nil
	case address != "":
		return nil, errors.New("--address: give it only with --erp remote")
	case name == "tryton":
		return trytonERP, nil
	case name == "ledger":
		return nil, nil
	}
	return nil, fmt.Errorf("--erp %s: must be one of ledger, remote, tryton", name)
}
