package erps

import (
	"context"
	"errors"
	"io"

	"github.com/tieback/tieback/services/tieback/demo"
)

func trytonERP(context.Context, string, io.Writer) (demo.Started, error) {
	return demo.Started{}, errors.New("the demo can't start Tryton on Windows: run it on Linux, or use --erp ledger")
}
