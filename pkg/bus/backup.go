package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Backup describes the last complete backup of the streams.
type Backup struct {
	ID      string    `json:"id"`
	To      string    `json:"to"` // the location, without credentials
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Version string    `json:"version"` // of the program that made it
}

// RecordBackup stores at the broker that a backup is complete, in the key topology.BackupKey of the bucket tieback-seen. It is the only
// key that the user backup may write.
func (c *Copier) RecordBackup(ctx context.Context, b Backup) error {
	raw, err := json.Marshal(b)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, AnswerTimeout)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, topology.Seen.Subject(topology.BackupKey), raw)
	if err != nil {
		return fmt.Errorf("the broker does not store the time of the backup: %w; a key that was made by an older version may not write it: run `provisioner keys --backup` again, and reload the broker", err)
	}
	var answer apiError
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("the broker's answer: %w", err)
	}
	return answer.err()
}

// LastBackup returns the last complete backup that RecordBackup stored, and false if there is none.
func (b *Bus) LastBackup(ctx context.Context) (Backup, bool, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	seen, err := b.js.Stream(ctx, topology.Seen.Stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Backup{}, false, nil
	}
	if err != nil {
		return Backup{}, false, err
	}
	m, err := newest(ctx, seen, topology.Seen.Subject(topology.BackupKey))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Backup{}, false, nil
	}
	if err != nil {
		return Backup{}, false, err
	}
	var last Backup
	if err := json.Unmarshal(m.Data, &last); err != nil {
		return Backup{}, false, fmt.Errorf("bucket %s: the key %s has a value that tieback backup did not write", topology.Seen, topology.BackupKey)
	}
	return last, true, nil
}
