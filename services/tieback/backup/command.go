// Package backup implements `tieback backup` and `tieback restore`: copies of the broker's streams, of the embedded ERP's books
// and of the console's index, made while services run.
//
// A backup is a folder in a store: a manifest, and a file for each stream and database.
package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/secretfile"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/command"
)

const locations = `LOCATION is a folder, or s3://bucket/prefix?endpoint=https://host:9000&region=R&ca_file=FILE; without an endpoint it
is AWS, and ca_file is only needed for a private certificate authority. The credentials of S3 come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from ~/.aws/credentials, or from the role of the
machine or the pod.`

// Command is `tieback backup`.
func Command() *cobra.Command {
	var recipients []string
	var plain bool
	cmd := &cobra.Command{
		Use: "backup LOCATION --recipient age1…", Short: "Copy the streams and databases to a folder or S3, while services run", Args: cobra.ExactArgs(1),
		Long: `Copy the broker's streams, and the databases under TIEBACK_DATA: the books of the embedded ERP and the console's index.
Services may keep running. The backup is encrypted with age for each recipient.

` + locations + `

Keep the secret key, which restore needs, apart from the backups: tieback backup key FILE makes one.

It uses the broker of the settings, or the embedded broker of TIEBACK_DATA, which tieback run may be using. A broker with
the keys of provisioner needs the key backup.

The time of a complete backup is stored at the broker, for tieback doctor and the alert TiebackBackupOld.

Exit code 0: the backup is complete. 1: it is not, or its time could not be stored. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := open(args[0])
			if err != nil {
				return err
			}
			keys, err := parseRecipients(recipients, plain)
			if err != nil {
				return err
			}
			return makeBackup(cmd, to, keys)
		},
	}
	cmd.Flags().StringArrayVar(&recipients, "recipient", nil, "public key (age1…) that can decrypt the backup; may be repeated")
	cmd.Flags().BoolVar(&plain, "no-encryption", false, "do not encrypt: payloads with names and amounts can be read by all who can read LOCATION")
	cmd.AddCommand(listCommand(), verifyCommand(), keyCommand())
	return cmd
}

func parseRecipients(texts []string, plain bool) ([]age.Recipient, error) {
	switch {
	case plain && len(texts) > 0:
		return nil, errors.New("--recipient and --no-encryption are both given: give one of them")
	case !plain && len(texts) == 0:
		return nil, errors.New("--recipient is missing: give the public key that `tieback backup key FILE` prints, or --no-encryption")
	}
	keys := make([]age.Recipient, 0, len(texts))
	for _, text := range texts {
		key, err := age.ParseX25519Recipient(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--recipient %q is no public key of age, such as `tieback backup key FILE` prints: %w", text, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func makeBackup(cmd *cobra.Command, to store, keys []age.Recipient) error {
	s, err := settings.Load(os.Getenv)
	if err != nil {
		return err
	}
	copier, done, err := connectRunning(s, "backup", broker.Start)
	if err != nil {
		return command.Failed(cmd, err)
	}
	defer done()
	files, err := databases(s.Data)
	if err != nil {
		return command.Failed(cmd, err)
	}
	began := time.Now()
	m, err := maker{to: to, recipients: keys, copier: copier, databases: files, progress: printer(cmd)}.run(cmd.Context(), began)
	if err != nil {
		return command.Failed(cmd, fmt.Errorf("no backup was made: %w", err))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "backup %s in %s is complete, after %s\n", m.ID, to, time.Since(began).Round(100*time.Millisecond))
	if err := copier.RecordBackup(cmd.Context(), bus.Backup{ID: m.ID, To: to.String(), Began: m.Began, Ended: m.Ended, Version: m.Version}); err != nil {
		return command.Failed(cmd, fmt.Errorf("the backup is complete, but tieback doctor and the alerts do not know of it: %w", err))
	}
	return nil
}

// printer returns a function that prints a line.
func printer(cmd *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) }
}

// connectRunning connects to the broker of the settings, or to the embedded broker, which it starts unless tieback run uses it.
func connectRunning(s settings.Settings, name string, start func(dir string) (*broker.Server, error)) (*bus.Copier, func(), error) {
	o := bus.Options{URL: s.NATSURL, NKeyFile: s.NATSNKeyFile, CAFile: s.NATSCAFile, Name: name, Log: zap.NewNop()}
	stop := func() {}
	if s.NATSURL == "" {
		srv, err := start(brokerDir(s))
		switch {
		case errors.Is(err, broker.ErrInUse):
			o.InProcess = broker.Local(broker.Socket(s.Data))
		case err != nil:
			return nil, nil, fmt.Errorf("embedded broker: %w", err)
		default:
			o.InProcess, stop = srv.InProcess(), srv.Close
		}
	}
	copier, err := bus.ConnectCopier(o)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return copier, func() { copier.Close(); stop() }, nil
}

// brokerDir returns the folder of the embedded broker.
func brokerDir(s settings.Settings) string { return filepath.Join(s.Data, "jetstream") }

// intoBroker restores into the broker of the settings. If it starts the embedded one, the files are synced at the end.
func (r restorer) intoBroker(ctx context.Context, s settings.Settings) (err error) {
	started := false
	copier, done, err := connectRunning(s, "restore", func(dir string) (*broker.Server, error) {
		srv, err := broker.StartUnsynced(dir)
		started = err == nil
		return srv, err
	})
	if err != nil {
		return err
	}
	r.copier = copier
	err = r.run(ctx)
	done()
	if started {
		err = errors.Join(err, broker.SyncFiles(brokerDir(s)))
	}
	return err
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list LOCATION", Short: "List the finished backups, the oldest first", Args: cobra.ExactArgs(1),
		Long: "List the finished backups of a location, the oldest first.\n\n" + locations + "\n\nExit code 0: listed. 1: it failed. 2: wrong usage.",
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := open(args[0])
			if err != nil {
				return err
			}
			ids, err := from.backups(cmd.Context())
			if err != nil {
				return command.Failed(cmd, fmt.Errorf("%s: %w", from, err))
			}
			for _, id := range ids {
				fmt.Fprintln(cmd.OutOrStdout(), id)
			}
			return nil
		},
	}
}

func keyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "key FILE", Short: "Make a secret key for backups, and print its public key", Args: cobra.ExactArgs(1),
		Long: `Make a secret key of age in FILE, which must not exist, and print its public key for --recipient. FILE is needed to
read the backups: keep copies of it in two places, and none beside the backups.

Exit code 0: made. 1: it failed. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := age.GenerateX25519Identity()
			if err != nil {
				return command.Failed(cmd, err)
			}
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return command.Failed(cmd, err)
			}
			_, err = fmt.Fprintf(f, "# public key: %s\n%s\n", key.Recipient(), key)
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				return command.Failed(cmd, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), key.Recipient())
			return nil
		},
	}
}

// identities reads the file of --identity; "": none.
func identities(file string) ([]age.Identity, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := secretfile.ReadSecret(file)
	if err != nil {
		return nil, fmt.Errorf("--identity: %w", err)
	}
	defer clear(raw)
	all, err := age.ParseIdentities(strings.NewReader(string(raw)))
	if err != nil {
		return nil, fmt.Errorf("--identity: %s has no secret key of age, such as `tieback backup key` makes", file)
	}
	return all, nil
}

// chosen opens the backup that the arguments and --identity name.
func chosen(cmd *cobra.Command, args []string, identity string) (*archive, error) {
	from, err := open(args[0])
	if err != nil {
		return nil, err
	}
	keys, err := identities(identity)
	if err != nil {
		return nil, err
	}
	id := ""
	if len(args) == 2 {
		id = args[1]
	}
	a, err := openArchive(cmd.Context(), from, id, keys)
	if err != nil {
		return nil, command.Failed(cmd, err)
	}
	return a, nil
}

func verifyCommand() *cobra.Command {
	var identity string
	cmd := &cobra.Command{
		Use: "verify LOCATION [ID]", Short: "Restore a backup into a temporary broker, and compare it", Args: cobra.RangeArgs(1, 2),
		Long: `Read a backup, the newest by default, restore it into a temporary broker in the folder for temporary files, and compare
each stream with the manifest. The databases are restored there too and checked.

` + locations + `

Exit code 0: the backup can be restored. 1: it can't. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := chosen(cmd, args, identity)
			if err != nil {
				return err
			}
			if err := verify(cmd.Context(), a, printer(cmd)); err != nil {
				return command.Failed(cmd, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "backup %s can be restored\n", a.ID)
			return nil
		},
	}
	cmd.Flags().StringVar(&identity, "identity", "", "file with the secret key")
	return cmd
}

// verify restores a backup into a temporary folder.
func verify(ctx context.Context, a *archive, progress func(string, ...any)) (err error) {
	dir, err := os.MkdirTemp("", "tieback-verify-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copier, done, err := connectRunning(settings.Settings{Data: dir}, "restore", broker.StartUnsynced)
	if err != nil {
		return err
	}
	defer done()
	return restorer{archive: a, copier: copier, data: dir, replicas: 1, progress: progress}.run(ctx)
}

// RestoreCommand is `tieback restore`.
func RestoreCommand() *cobra.Command {
	var identity string
	var keep bool
	cmd := &cobra.Command{
		Use: "restore LOCATION [ID]", Short: "Restore a backup into an empty broker", Args: cobra.RangeArgs(1, 2),
		Long: `Restore a backup, the newest by default: the streams into a broker that has none of them, and the databases into TIEBACK_DATA.
It replaces nothing. If only the broker was lost, give --keep-databases: the books and the console's index are still there, and newer
than the backup. Stop the services first, and keep them stopped until it is done. A restore that was interrupted can be repeated, and leaves
out what is complete. If it was interrupted within a stream, the broker may have kept a part of the stream: then begin again with an empty
broker. A broker with the keys of provisioner needs the key restore.

` + locations + `

Then, in this order (docs/disasters.md has the details):
  1. provisioner, or tieback run, which update the streams to this version
  2. tieback links rebuild --company N, for each company: links that were stored after the backup
  3. start the services; sweep brings in the requests since the backup that Procore lists
  4. tieback audit --since T for the time since the backup
The books of the embedded ERP also need: tieback ledger accept-loss --company N

Exit code 0: restored. 1: not, or in part. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := settings.Load(os.Getenv)
			if err != nil {
				return err
			}
			a, err := chosen(cmd, args, identity)
			if err != nil {
				return err
			}
			began := time.Now()
			if err := (restorer{archive: a, data: s.Data, replicas: s.Replicas, keep: keep, progress: printer(cmd)}).intoBroker(cmd.Context(), s); err != nil {
				return command.Failed(cmd, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "backup %s is restored, after %s. The time since %s is missing: tieback restore --help has the next steps\n",
				a.ID, time.Since(began).Round(100*time.Millisecond), a.Began.Format(time.RFC3339))
			return nil
		},
	}
	cmd.Flags().StringVar(&identity, "identity", "", "file with the secret key")
	cmd.Flags().BoolVar(&keep, "keep-databases", false, "leave databases that exist as they are")
	return cmd
}
