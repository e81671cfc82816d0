package bus

import (
	"context"

	"go.uber.org/zap"
)

// LookOn reaches a broker of which parts may not answer, for whoever only looks how it stands: it
// makes nothing and asks for no stream, and publishes nothing either. Where the bucket does not
// answer either, Bucket is nil. Close it.
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
		b.log.Debug("what is remembered does not answer", zap.Error(err))
	}
	return b, nil
}
