package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// bookUntilKilled is the environment variable with a folder in which the test binary books, and prints the origin ids of
// each confirmed booking, until it is killed.
const bookUntilKilled = "LEDGER_TEST_BOOK"

func bookInto(dir string) {
	ctx := context.Background()
	b, err := Open(dir).Company(ctx, company)
	if err != nil {
		fmt.Println(err)
		return
	}
	job, err := b.Put(ctx, &tiebackv1.PutRequest{Key: "job", Record: &Record{Entity: Job, Name: "Bridge"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	budget := job.GetBooking().GetOriginId()
	fmt.Println("job", budget)
	update := ""
	for i := 0; ; i++ {
		r := &Record{Entity: Vendor, Name: fmt.Sprint("vendor ", i)}
		if i%5 == 4 { // a budget gets a line more each time, with an origin id of its own
			r = &Record{Entity: Budget, OriginId: update, JobOriginId: budget, Lines: []*Line{{Amount: "1.00", ProcoreId: int64(i), Description: "x"}}}
		}
		res, err := b.Put(ctx, &tiebackv1.PutRequest{Key: fmt.Sprint(i), Order: fmt.Sprintf("%06d", i), OrderLatest: fmt.Sprintf("%06d", i), Record: r})
		if err != nil {
			fmt.Println(err)
			return
		}
		if i%5 == 4 {
			update = res.Booking.OriginId
		}
		fmt.Println(i, res.Booking.OriginId, strings.Join(res.Booking.LineOriginIds, " "))
	}
}

// crashed starts a process that books and kills it. It returns the folder, and the ids of the confirmed bookings by key.
func crashed(t *testing.T) (dir string, confirmed map[string][]string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), bookUntilKilled+"="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	confirmed = map[string][]string{}
	var rest bytes.Buffer
	buf := make([]byte, 64)
	for strings.Count(rest.String(), "\n") < 30 {
		n, err := out.Read(buf)
		rest.Write(buf[:n])
		if err != nil {
			t.Fatalf("the process ended by itself: %v: %s", err, rest.String())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(&rest, out)
	_ = cmd.Wait() // it was killed
	lines := strings.SplitAfter(rest.String(), "\n")
	for _, line := range lines[:len(lines)-1] {
		f := strings.Fields(line)
		confirmed[f[0]] = f[1:]
	}
	return dir, confirmed
}

const name = "ledger-42.db"

// copied copies the books as the crash left them to a new folder.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, part := range []string{"", "-wal", "-mark"} {
		if err := copyFile(filepath.Join(dir, name+part), filepath.Join(to, name+part)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return to
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[at] ^= 0x10
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// has fails the test unless all confirmed bookings are in the books.
func has(t *testing.T, b *Books, confirmed map[string][]string) {
	t.Helper()
	for key, ids := range confirmed {
		res, err := b.Find(t.Context(), &tiebackv1.FindRequest{Key: key})
		if err != nil || res.GetBooking().GetOriginId() != ids[0] {
			t.Errorf("key %s was confirmed as %v: %v, %v", key, ids, res, err)
		}
	}
}

// The books of a killed process can be opened, and have all confirmed bookings.
func TestKilledProcessLosesNothing(t *testing.T) {
	dir, confirmed := crashed(t)
	has(t, open(t, dir), confirmed)
}

// One byte of the log is wrong after a crash: SQLite silently drops all bookings from there on.
func TestFlippedByteInTheLog(t *testing.T) {
	dir, confirmed := crashed(t)
	log, err := os.ReadFile(filepath.Join(dir, name+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	const header, frame = 32, 24 + 4096
	offsets := []int64{0, 3, 9, 17, 26, 31} // magic, page size, salts and checksum
	frames := (int64(len(log)) - header) / frame
	for i := range int64(12) {
		at := header + (frames-1)*i/11*frame
		offsets = append(offsets, at+2, at+6, at+13, at+20, at+24+4095)
	}
	lost := 0
	for _, at := range offsets {
		t.Run(fmt.Sprint("byte ", at), func(t *testing.T) {
			damaged := copied(t, dir)
			flip(t, filepath.Join(damaged, name+"-wal"), at)
			before, err := os.ReadFile(filepath.Join(damaged, name+"-wal"))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time too
				root := Open(damaged)
				b, err := root.Company(t.Context(), company)
				if err == nil {
					has(t, b, confirmed)
				}
				if cerr := root.Close(); cerr != nil {
					t.Fatal(cerr)
				}
				if err == nil {
					return
				}
				if !errors.Is(err, ErrLost) || fault.ReasonOf(err) != fault.Damaged {
					t.Fatal(err)
				}
				if after, err := os.ReadFile(filepath.Join(damaged, name+"-wal")); err != nil || !bytes.Equal(before, after) {
					t.Fatalf("the damaged log was changed: %v", err)
				}
			}
			lost++
			acceptAndBook(t, damaged, before, confirmed)
		})
	}
	if lost < 20 {
		t.Errorf("%d of %d flipped bytes lost bookings, which is too few to test this", lost, len(offsets))
	}
}

// acceptAndBook accepts the loss and books new records: no origin id is used twice, and the damaged log is kept.
func acceptAndBook(t *testing.T, dir string, log []byte, confirmed map[string][]string) {
	t.Helper()
	a, err := Open(dir).AcceptLoss(t.Context(), company)
	if err != nil {
		t.Fatal(err)
	}
	if a.Transactions == 0 || len(a.Kept) != 3 {
		t.Errorf("accepted: %+v", a)
	}
	if kept, err := os.ReadFile(a.Kept[1]); err != nil || !bytes.Equal(kept, log) {
		t.Errorf("%s is not the damaged log: %v", a.Kept[1], err)
	}
	given := map[string]bool{}
	for _, ids := range confirmed {
		for _, id := range ids {
			given[id] = true
		}
	}
	b := open(t, dir)
	job := put(t, b, "new job", &Record{Entity: Job, Name: "Tunnel"})
	fresh := []string{job.OriginId, put(t, b, "new vendor", &Record{Entity: Vendor, Name: "new"}).OriginId}
	if all, err := b.All(t.Context(), Budget); err != nil {
		t.Fatal(err)
	} else if len(all) > 0 {
		more := put(t, b, "new line", &Record{
			Entity: Budget, OriginId: all[0].OriginId, JobOriginId: all[0].JobOriginId, Lines: []*Line{{Amount: "2", ProcoreId: 999999, Description: "y"}},
		})
		fresh = append(fresh, more.LineOriginIds...)
	}
	for _, id := range fresh {
		if given[id] {
			t.Errorf("%s is used twice", id)
		}
	}
	balanced(t, b)
}

// A write that a crash cut off was never confirmed, so the books can be opened.
func TestWriteThatWasCutOff(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	confirmed := map[string][]string{"one": {put(t, b, "one", &Record{Entity: Vendor, Name: "one"}).OriginId}}
	whole := copied(t, dir)
	put(t, b, "two", &Record{Entity: Vendor, Name: "two"})
	log, err := os.ReadFile(filepath.Join(dir, name+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	start, err := os.Stat(filepath.Join(whole, name+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	for at := start.Size(); at <= int64(len(log)); at += 997 {
		cut := copied(t, whole)
		if err := os.WriteFile(filepath.Join(cut, name+"-wal"), log[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		has(t, open(t, cut), confirmed)
	}
	unmarked := copied(t, whole) // the crash came after the commit and before its mark
	if err := os.WriteFile(filepath.Join(unmarked, name+"-wal"), log, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, unmarked)
	has(t, again, confirmed)
	if want, _, err := again.mark.read(); err != nil || want.commit != 2 {
		t.Errorf("the mark is at %+v, %v; want commit 2", want, err)
	}
}

// Other ways in which books can be older than their mark.
func TestBooksThatAreOlderThanTheirMark(t *testing.T) {
	dir, confirmed := crashed(t)
	for what, damage := range map[string]func(path string) error{
		"no log":          func(path string) error { return os.Remove(path + "-wal") },
		"no books":        func(path string) error { return errors.Join(os.Remove(path), os.Remove(path+"-wal")) },
		"no mark":         func(path string) error { return os.Remove(path + "-mark") },
		"mark of zeros":   func(path string) error { return os.WriteFile(path+"-mark", make([]byte, slotSize*slotCount), 0o600) },
		"start of a mark": func(path string) error { return os.Truncate(path+"-mark", 3) },
		"half a log":      func(path string) error { return os.Truncate(path+"-wal", 32+(24+4096)*5) },
		"log of nothing":  func(path string) error { return os.Truncate(path+"-wal", 0) },
	} {
		t.Run(what, func(t *testing.T) {
			damaged := copied(t, dir)
			if err := damage(filepath.Join(damaged, name)); err != nil {
				t.Fatal(err)
			}
			root := Open(damaged)
			if _, err := root.Company(t.Context(), company); !errors.Is(err, ErrLost) {
				t.Errorf("opened: %v", err)
			}
			if _, err := root.AcceptLoss(t.Context(), company); err != nil {
				t.Fatal(err)
			}
			id := put(t, open(t, damaged), "new", &Record{Entity: Vendor, Name: "new"}).OriginId
			for _, ids := range confirmed {
				if ids[0] == id {
					t.Errorf("%s is used twice", id)
				}
			}
		})
	}
}

// A damaged slot is skipped: the one before it counts.
func TestDamagedSlotOfTheMark(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	for i := range 11 {
		put(t, b, fmt.Sprint(i), &Record{Entity: Vendor, Name: "n"})
	}
	if p, found, err := b.mark.read(); err != nil || !found || p.commit != 11 {
		t.Fatalf("%+v %v %v", p, found, err)
	}
	flip(t, filepath.Join(dir, name+"-mark"), 11%slotCount*slotSize)
	if p, found, err := b.mark.read(); err != nil || !found || p.commit != 10 {
		t.Errorf("%+v %v %v, want the one before", p, found, err)
	}
}

// The disk was full while the mark was created: part of it exists, and no books. The next start creates them.
func TestMarkThatWasNotWrittenToItsEnd(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name+"-mark"), make([]byte, slotSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, open(t, dir), "one", &Record{Entity: Vendor, Name: "n"})
}

// A put that changes nothing does not write the mark.
func TestRepeatIsNotMarked(t *testing.T) {
	b := open(t, t.TempDir())
	for range 3 {
		put(t, b, "same", &Record{Entity: Vendor, Name: "n"})
	}
	if p, _, err := b.mark.read(); err != nil || p.commit != 1 {
		t.Errorf("the mark is at %+v, %v", p, err)
	}
}

// Open books are refused.
func TestAcceptLossOfOpenBooks(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(dir).AcceptLoss(t.Context(), company); err == nil || !strings.Contains(err.Error(), "stop Tieback") {
		t.Errorf("got %v", err)
	}
}
