package bus

import (
	"context"

	"go.uber.org/zap"
)

// ConnectReadOnly connects to a broker that may be partly unavailable, for commands that inspect it. It creates nothing,
// requires no stream, and the bus must not publish. Bucket is nil if the state bucket does not answer. The caller must
// close the bus.
func ConnectReadOnly(ctx context.Context, o Options) (*Bus, error) {
	o.TopologyManaged = true
	b, err := dial(o)
	if err != nil {
		return nil, err
	}
	if err := b.waitForBroker(ctx); err != nil {
		b.Close()
		return nil, err
	}
	short, cancel := answerContext(ctx)
	defer cancel()
	if b.bucket, err = b.openBucket(short, o); err != nil {
		b.log.Debug("the state bucket does not answer", zap.Error(err))
	}
	return b, nil
}
