package callflow

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

const (
	batchSize   = 256    // entries of one transaction
	queueSize   = 16_384 // entries that may wait; those of calls that are up always fit
	behindAt    = queueSize / 2
	strangersAt = queueSize / 4 // beyond this refusals of strangers are not written
	retryEvery  = 200 * time.Millisecond
)

// rejected is the one moment of a call that was not routed.
const rejected = masking.Moment(-1)

// Journal writes calls down in the order in which it is told, many in one
// transaction. Telling it never waits: a call's audio and signalling go on while
// the database is away, and what is waiting is written when it is back.
type Journal struct {
	store  store.Store
	clock  func() time.Time
	log    *slog.Logger
	node   string
	mu     sync.Mutex
	queue  []entry
	wake   chan struct{}
	stop   chan struct{} // closed: write what waits, then end
	abort  chan struct{} // closed: end without the store
	done   chan struct{}
	length atomic.Int64
	unsaid atomic.Int64 // refusals that were not written
}

type entry struct {
	moment  masking.Moment
	call    masking.Call
	zone    *time.Location
	at      time.Time
	refusal *refusal
}

type refusal struct {
	ask  masking.Ask
	plan masking.Plan
	why  masking.Refusal
	at   time.Time
}

// JournalOptions are what a Journal works with; all are required.
type JournalOptions struct {
	Store store.Store
	Clock func() time.Time
	Log   *slog.Logger
	Node  string
}

// NewJournal makes a Journal and starts its writer; Close ends it.
func NewJournal(o JournalOptions) *Journal {
	j := &Journal{store: o.Store, clock: o.Clock, log: o.Log, node: o.Node,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), abort: make(chan struct{}), done: make(chan struct{})}
	go j.write()
	return j
}

// Note writes a moment of a call down, without waiting.
func (j *Journal) Note(m masking.Moment, c masking.Call, zone *time.Location) {
	j.add(entry{moment: m, call: c, zone: zone, at: j.clock()})
}

func (j *Journal) refused(r refusal) {
	if j.length.Load() >= strangersAt && r.why != masking.RefusedCallerBusy {
		j.unsaid.Add(1)
		return
	}
	j.add(entry{moment: rejected, at: r.at, refusal: &r})
}

func (j *Journal) add(e entry) {
	j.mu.Lock()
	j.queue = append(j.queue, e)
	j.length.Store(int64(len(j.queue)))
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Behind reports that the journal cannot keep up, most likely because the
// database is away: no new calls should be taken. Those that are up need at most
// a few entries each, so the queue stays bounded.
func (j *Journal) Behind() bool { return j.length.Load() >= behindAt }

// Waiting is how many entries are not durable yet.
func (j *Journal) Waiting() int { return int(j.length.Load()) }

// Unwritten is how many refusals were not written down for want of room.
func (j *Journal) Unwritten() int64 { return j.unsaid.Load() }

// Close writes what is waiting and ends the writer; with ctx done it gives up
// and tells how many entries are lost.
func (j *Journal) Close(ctx context.Context) error {
	close(j.stop)
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		close(j.abort)
		<-j.done
		if j.Waiting() == 0 {
			return nil
		}
		j.log.Error("call records could not be written before the end", "entries", j.Waiting())
		return ctx.Err()
	}
}

func (j *Journal) write() {
	defer close(j.done)
	stopping := false
	for {
		batch := j.peek()
		if len(batch) == 0 {
			if stopping {
				return
			}
			select {
			case <-j.wake:
			case <-j.stop:
				stopping = true
			}
			continue
		}
		err := j.flush(batch)
		if err != nil {
			j.log.Warn("call records wait for the store", "error", err.Error(), "waiting", j.Waiting())
			select {
			case <-time.After(retryEvery):
			case <-j.abort:
				return
			}
		}
	}
}

func (j *Journal) peek() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := min(len(j.queue), batchSize)
	return j.queue[:n:n]
}

func (j *Journal) drop(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = append(j.queue[:0:0], j.queue[n:]...)
	j.length.Store(int64(len(j.queue)))
}

// save writes a batch in one transaction.
func (j *Journal) save(batch []entry) error {
	return j.store.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
		for _, e := range batch {
			if err := j.apply(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// flush writes a batch and takes what is written off the queue.
func (j *Journal) flush(batch []entry) error {
	err := j.save(batch)
	if err == nil {
		j.drop(len(batch))
		return nil
	}
	if j.store.Ready(context.Background()) != nil {
		return err
	}
	return j.saveEach(batch)
}

// saveEach writes a batch that failed as a whole although the store answers. One
// entry that can never be written must not hold up all others: it is given up,
// loudly.
func (j *Journal) saveEach(batch []entry) error {
	for i, e := range batch {
		if err := j.save(batch[i : i+1]); err != nil {
			if away := j.store.Ready(context.Background()); away != nil {
				return away
			}
			j.log.Error("a call record cannot be written", "call", string(e.call.ID), "error", err.Error())
		}
		j.drop(1)
	}
	return nil
}

// apply writes one moment and its event, both only once whatever is repeated.
func (j *Journal) apply(ctx context.Context, tx store.Tx, e entry) error {
	switch e.moment {
	case masking.Began:
		_, err := tx.BeginCall(ctx, e.call)
		return err
	case masking.Rang:
		return j.event(ctx, tx, masking.EventCallRinging, e)
	case masking.Answered:
		changed, err := tx.AnswerCall(ctx, e.call)
		if err != nil || !changed {
			return err
		}
		return j.event(ctx, tx, masking.EventCallAnswered, e)
	case masking.Ended:
		changed, err := tx.EndCall(ctx, e.call)
		if err != nil || !changed {
			return err
		}
		return j.event(ctx, tx, masking.EventCallCompleted, e)
	}
	return j.applyRefusal(ctx, tx, e)
}

// applyRefusal writes the record of a call that was not routed, for the tenant
// whose number it is.
func (j *Journal) applyRefusal(ctx context.Context, tx store.Tx, e entry) error {
	r := e.refusal
	route, err := tx.Route(ctx, r.ask.Called, r.ask.Caller)
	if masking.KindOf(err) == masking.NotFound {
		return nil // the number has left the pool
	}
	if err != nil {
		return err
	}
	why, allocation := r.why, r.plan.Allocation.ID
	if why == masking.RefusedStranger {
		id, oneway, err := tx.OneWayTo(ctx, r.ask.Called, r.ask.Caller, r.at)
		if err != nil {
			return err
		}
		if oneway {
			why, allocation = masking.RefusedWrongDirection, id
		}
	}
	e.call = masking.Call{ID: r.ask.Call, Tenant: route.Tenant.ID, Allocation: r.plan.Allocation.ID,
		VirtualNumber: r.ask.Called, Caller: r.ask.Caller, CustomField: r.plan.Allocation.CustomField, Node: j.node,
		StartedAt: r.ask.Received, EndedAt: r.at, Cause: masking.CauseRejected, Refusal: why}
	e.zone = route.Tenant.Settings.Zone
	fresh, err := tx.BeginCall(ctx, e.call)
	if err != nil || !fresh {
		return err
	}
	// The call is one of the allocation's only where it matched; the event may
	// still name the allocation that explains the refusal.
	e.call.Allocation = allocation
	return j.event(ctx, tx, masking.EventCallRejected, e)
}

func (j *Journal) event(ctx context.Context, tx store.Tx, typ masking.EventType, e entry) error {
	return tx.AppendEvent(ctx, masking.CallEvent(newEventID(e.at), typ, e.call, e.zone, e.at))
}

func newEventID(at time.Time) masking.EventID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return masking.EventID(masking.NewID(masking.PrefixEvent, at, random))
}

// CloseLost ends the records of calls that this node carried when it died: each
// gets its one terminal event, with cause node_lost. It is called at start,
// before the first call.
func (j *Journal) CloseLost(ctx context.Context) (int, error) {
	closed := 0
	err := j.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		closed = 0
		open, err := tx.OpenCalls(ctx, j.node)
		if err != nil {
			return err
		}
		for _, c := range open {
			t, err := tx.Tenant(ctx, c.Tenant)
			if err != nil {
				return err
			}
			now := j.clock()
			c.EndedAt, c.Cause = now, masking.CauseNodeLost
			if err := j.apply(ctx, tx, entry{moment: masking.Ended, call: c, zone: t.Settings.Zone, at: now}); err != nil {
				return err
			}
			closed++
		}
		return nil
	})
	return closed, err
}
