package procore

import (
	"context"
	"math/rand/v2"
	"time"
)

// Store shares limits and logins among the processes that use the same clients. It has one value per client, of about 300
// bytes for each of its companies. bus.Quota implements it. Its methods may be called concurrently.
// Limits are sealed (see seal), so a Store need not be protected from writers other than these processes.
type Store interface {
	// Read returns a key's value, nil if there is none, and the revision to pass to Swap.
	Read(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Swap writes a value if the key still has the revision, and returns the new one. It returns ok false if another
	// process has written the key.
	Swap(ctx context.Context, key string, value []byte, revision uint64) (next uint64, ok bool, err error)
}

// storeTimeout bounds one exchange with the store.
const storeTimeout = time.Second

// sharing is the state of a limiter that shares its limits. Operations of this process are queued while a write is under way
// and written together, so that processes contend for the key, not calls.
//
// There is no extra goroutine. The first caller to find no write in flight becomes leader: it writes everything queued, then
// hands leadership to a waiting caller.
type sharing struct {
	queue     []*op
	leading   bool
	revision  uint64
	cached    bool  // the budget is the store's at revision, as far as we know
	forged    bool  // the value at revision was ignored
	unwritten []*op // ends that could not be written yet; only the leader touches them
}

// runShared executes an operation in the store. The end of a call does not wait for the write, unless the call was refused.
func (m *limiter) runShared(mv *op) {
	mv.done = make(chan bool, 1)
	m.mu.Lock()
	m.sharing.queue = append(m.sharing.queue, mv)
	lead := !m.sharing.leading
	m.sharing.leading = true
	m.mu.Unlock()
	if !lead && (mv.end != nil && !mv.end.refused || !<-mv.done) {
		return
	}
	for more := true; more; {
		more = m.writeQueued()
	}
}

// writeQueued writes the queue. It reports whether the caller is still the leader.
func (m *limiter) writeQueued() bool {
	m.mu.Lock()
	batch := m.sharing.queue
	m.sharing.queue = nil
	m.mu.Unlock()
	m.write(batch)
	for _, mv := range batch {
		mv.done <- false // never blocks: the channel has capacity 1, and only a leader was sent to before
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mv := range m.sharing.queue {
		if mv.end == nil {
			mv.done <- true
			return false
		}
	}
	m.sharing.leading = len(m.sharing.queue) > 0
	return m.sharing.leading
}

// write executes the operations, and those that could not be written before, in the store. If it fails, reservations get the
// error; ends are kept in unwritten and count as calls in flight until they are written.
func (m *limiter) write(batch []*op) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	moves := append(m.sharing.unwritten, batch...)
	err := m.swap(ctx, moves)
	m.sharing.unwritten = nil
	if err == nil {
		return
	}
	m.sharing.cached = false
	for _, mv := range moves {
		if mv.end != nil {
			m.sharing.unwritten = append(m.sharing.unwritten, mv)
		} else {
			mv.err = err
		}
	}
}

// swap applies the operations to the value in the store, and retries while other processes write it. If the value is not
// sealed, swap uses this process's own state instead, and after a few attempts does not write it. The process then makes one
// call at a time, as the calls of other processes are not known.
func (m *limiter) swap(ctx context.Context, moves []*op) error {
	forged := false
	for moved := 0; ; moved++ {
		b, from, err := m.read(ctx)
		if err != nil {
			return err
		}
		forged = forged || from == fromForged
		calls, changed, refused := m.apply(&b, moves, forged)
		switch {
		case refused && from == fromCache: // other processes may have freed calls since
			m.sharing.cached = false
			moved--
			continue
		case !changed:
			m.set(b, calls)
			return nil
		}
		if ok, err := m.put(ctx, b, calls); ok || err != nil {
			return err
		}
		m.sharing.cached = false
		if forged && moved >= 2 {
			m.set(b, calls)
			return nil
		}
		if moved > 0 { // again: let the others finish
			time.Sleep(rand.N(2 * time.Millisecond))
		}
	}
}

// source is the origin of a budget.
type source int

const (
	fromCache  source = iota // this process's copy of what the store has
	fromStore                // the store, just now; where the store has nothing, what this process knows
	fromForged               // what this process knows, since what the store has is not sealed
)

// read returns a copy of the budget. If the store has none, or one that was not sealed with the client's secret, it is a copy
// of this process's state.
func (m *limiter) read(ctx context.Context) (b budget, from source, err error) {
	if !m.sharing.cached {
		raw, revision, err := m.store.Read(ctx, m.key)
		if err != nil {
			return b, from, err
		}
		before, again := m.sharing.revision, m.sharing.forged && revision == m.sharing.revision
		m.sharing.revision, m.sharing.cached, m.sharing.forged, from = revision, true, false, fromStore
		if len(raw) > 0 {
			b, after, err := unseal[budget](raw, m.key, m.secret())
			// A revision lower than before is of a store that was created again. Otherwise each value replaces one
			// that is no older than the one read before; a value that does not is an old one that was replayed.
			if err == nil && !again && (revision <= before || after >= before) {
				return b, from, nil
			}
			m.sharing.forged = true
			from = fromForged
			m.recordForeign()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.budget.clone(), from, nil
}

// put writes b, and makes it the state of this process once it is written. It returns false if another process has written.
func (m *limiter) put(ctx context.Context, b budget, calls map[int64]int) (ok bool, err error) {
	raw, err := seal(b, m.key, m.secret(), m.sharing.revision)
	if err != nil {
		return false, err
	}
	revision, ok, err := m.store.Swap(ctx, m.key, raw, m.sharing.revision)
	if ok && err == nil {
		m.sharing.revision = revision
		m.set(b, calls)
	}
	return ok, err
}

func (m *limiter) set(b budget, calls map[int64]int) {
	m.mu.Lock()
	m.budget, m.calls = b, calls
	m.mu.Unlock()
}
