package broker

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger passes the broker's warnings and errors on to the log of this process: at most burst of each level in every period, as a
// broker with a broken disk repeats itself. Notices are left out.
type logger struct{ log *zap.Logger }

const (
	period  = time.Minute
	burst   = 30
	longest = 1 << 10 // bytes of a message
)

func newLogger(log *zap.Logger) logger {
	return logger{log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, period, burst, 0) // it counts by level and message, which is the same for all
	}))}
}

const said = "embedded broker"

func text(format string, v []any) zap.Field {
	s := fmt.Sprintf(format, v...)
	s = strings.ToValidUTF8(s[:min(len(s), longest)], "")
	return zap.String("says", strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}

// Warnf implements server.Logger.
func (l logger) Warnf(format string, v ...any) { l.log.Warn(said, text(format, v)) }

// Errorf implements server.Logger.
func (l logger) Errorf(format string, v ...any) { l.log.Error(said, text(format, v)) }

// Fatalf implements server.Logger. The process goes on: what started the broker learns of it by its error.
func (l logger) Fatalf(format string, v ...any) { l.log.Error(said, text(format, v)) }

// Noticef implements server.Logger.
func (logger) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (logger) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (logger) Tracef(string, ...any) {}
