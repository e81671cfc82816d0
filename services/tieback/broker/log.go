package broker

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger passes the broker's warnings and errors to the log of this process, at most burst of each level per period, because a
// broker with a broken disk repeats them. It drops notices.
type logger struct{ log *zap.Logger }

const (
	period  = time.Minute
	burst   = 30
	maxText = 1 << 10 // bytes of a message
)

func newLogger(log *zap.Logger) logger {
	return logger{log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, period, burst, 0) // the sampler counts by level and message; all have the same message
	}))}
}

const message = "embedded broker"

// text returns a field with the broker's message, truncated and on one line.
func text(format string, v []any) zap.Field {
	s := fmt.Sprintf(format, v...)
	s = strings.ToValidUTF8(s[:min(len(s), maxText)], "")
	return zap.String("text", strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}

// Warnf implements server.Logger.
func (l logger) Warnf(format string, v ...any) { l.log.Warn(message, text(format, v)) }

// Errorf implements server.Logger.
func (l logger) Errorf(format string, v ...any) { l.log.Error(message, text(format, v)) }

// Fatalf implements server.Logger. It does not end the process: Start returns the error.
func (l logger) Fatalf(format string, v ...any) { l.log.Error(message, text(format, v)) }

// Noticef implements server.Logger.
func (logger) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (logger) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (logger) Tracef(string, ...any) {}
