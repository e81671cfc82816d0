package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// content is what a stream contains: the digest of all messages with their sequences, subjects, headers and data.
type content map[string]string

// backups makes a backup of the cluster by each version, restores it by the other one into an empty broker, and compares. The services
// must have ended, so that the streams do not change.
func (cl *cluster) backups(ctx context.Context) error {
	var urls string
	for _, n := range cl.nodes {
		urls += ",nats://" + n.client
	}
	for _, way := range [][2]string{{oldVersion, newVersion}, {newVersion, oldVersion}} {
		want, err := contentOf(ctx, cl.watcher.js) // each time, because a backup stores when it was made
		if err != nil {
			return err
		}
		if err := cl.backup(ctx, want, urls[1:], way[0], way[1]); err != nil {
			return fmt.Errorf("backup by the %s version, restored by the %s one: %w", way[0], way[1], err)
		}
		fmt.Printf("  backup by the %s version, restored by the %s one: %d streams are the same\n", way[0], way[1], len(want))
	}
	return nil
}

func (cl *cluster) backup(ctx context.Context, want content, url, by, into string) (err error) {
	dir := filepath.Join(cl.dir, "backup-by-"+by)
	target := &node{name: "restored-by-" + into}
	for _, addr := range []*string{&target.client, &target.monitor} {
		if *addr, err = cl.ports.take(); err != nil {
			return err
		}
	}
	config := filepath.Join(cl.dir, target.name+".conf")
	text := fmt.Sprintf("listen: %q\nhttp: %q\nmax_payload: 8MB\njetstream { store_dir: %q }\n", target.client, target.monitor, filepath.Join(cl.dir, target.name))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	target.program = &program{name: target.name, path: cl.programs.path("nats-server"), args: []string{"-c", config}, logs: cl.logs}
	if err := target.program.start(ctx); err != nil {
		return err
	}
	defer target.program.close()
	if err := cl.until(ctx, caughtUp, func() error {
		if !target.healthy() {
			return errors.New("the empty broker is not healthy")
		}
		return nil
	}); err != nil {
		return err
	}
	run := func(url, path string, args ...string) error {
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + cl.dir, "TIEBACK_DATA=" + filepath.Join(cl.dir, target.name+"-data"), "TIEBACK_NATS_URL=" + url, "TIEBACK_NATS_REPLICAS=1"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %v: %w: %s", filepath.Base(path), args, err, out)
		}
		return nil
	}
	empty := "nats://" + target.client
	if err := run(url, cl.programs.command(by), "backup", dir, "--no-encryption"); err != nil {
		return err
	}
	if err := run(empty, cl.programs.command(into), "restore", dir); err != nil {
		return err
	}
	nc, err := nats.Connect(empty)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	got, err := contentOf(ctx, js)
	if err != nil {
		return err
	}
	if err := got.missing(want); err != nil {
		return err
	}
	return run(empty, cl.programs.service("provisioner", into)) // accepts the streams of the other version
}

// missing returns an error that names each stream of want that got lacks, or has with other messages.
func (got content) missing(want content) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			errs = append(errs, fmt.Errorf("the stream %s is %q, and was %q", name, got[name], want[name]))
		}
	}
	return errors.Join(errs...)
}

// contentOf reads the streams on disk; those in memory are not part of a backup.
func contentOf(ctx context.Context, js jetstream.JetStream) (content, error) {
	var streams []*jetstream.StreamInfo
	list := js.ListStreams(ctx)
	for info := range list.Info() { // at once: the list ends after 5 s, also if its reader is slow
		if info.Config.Storage != jetstream.MemoryStorage {
			streams = append(streams, info)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	out := content{}
	for _, info := range streams {
		var err error
		if out[info.Config.Name], err = digest(ctx, js, info); err != nil {
			return nil, fmt.Errorf("read %s: %w", info.Config.Name, err)
		}
	}
	return out, nil
}

func digest(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	h := sha256.New()
	if info.State.Msgs > 0 {
		c, err := js.OrderedConsumer(ctx, info.Config.Name, jetstream.OrderedConsumerConfig{})
		if err != nil {
			return "", err
		}
		messages, err := c.Messages()
		if err != nil {
			return "", err
		}
		defer messages.Stop()
		for range info.State.Msgs {
			m, err := messages.Next(jetstream.NextContext(ctx))
			if err != nil {
				return "", err
			}
			meta, err := m.Metadata()
			if err != nil {
				return "", err
			}
			fmt.Fprintf(h, "%d %q %d", meta.Sequence.Stream, m.Subject(), len(m.Data()))
			for _, key := range slices.Sorted(maps.Keys(m.Headers())) {
				fmt.Fprintf(h, "%q %q", key, m.Headers()[key])
			}
			_, _ = h.Write(m.Data()) // a hash returns no error
		}
	}
	return fmt.Sprintf("%d messages, the last %d, digest %s", info.State.Msgs, info.State.LastSeq, hex.EncodeToString(h.Sum(nil))[:16]), nil
}
