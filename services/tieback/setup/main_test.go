package setup_test

import (
	"testing"

	"github.com/tieback/tieback/pkg/bus/bustest"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }
