package callflow

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/seal"
	"tandem/internal/store"
)

const (
	batchSize   = 256    // entries of one transaction
	queueSize   = 16_384 // entries that may wait; those of calls that are up always fit
	behindAt    = queueSize / 2
	strangersAt = queueSize / 4 // beyond this refusals of strangers are not written
	retryEvery  = 200 * time.Millisecond
	// At most one transaction in so long: what comes in meanwhile shares the
	// next one and its fsync. After a pause the first entry is written at once.
	flushEvery = 20 * time.Millisecond
	// What waits longer than this for the store is put into the spool.
	spoolAfter = time.Second
	witnesses  = 8 // how many other calls are asked whether the store writes at all
)

// Moments that only the journal knows.
const (
	rejected masking.Moment = -1 - iota // the one moment of a call that was not routed
	kept                                // of a call that talks: what it takes to take it up again
	allSeen                             // the last message of a call, later than its end was written
)

// Ladders give what was seen of a call's messages (voice/sipua). They keep it until it
// is written, or as long as the call is up.
type Ladders interface {
	// Keep says that the call has a record.
	Keep(masking.CallID)
	// Take gives the ladder; whole if no more comes. Else Journal.Seen is told once it
	// is.
	Take(masking.CallID) (ladder []byte, whole bool)
	// Forget says that the ladder is written.
	Forget(masking.CallID)
}

// noLadders is for who has none.
type noLadders struct{}

func (noLadders) Keep(masking.CallID)                {}
func (noLadders) Take(masking.CallID) ([]byte, bool) { return nil, true }
func (noLadders) Forget(masking.CallID)              {}

// Spool keeps entries where the end of the process does no harm to them, the oldest
// first (package backlog). The journal's writer alone calls Append, Peek and Drop. What
// is read again after a restart may have been written to the store before.
type Spool interface {
	// Append puts records at the end, all or none; nil says that they are safe.
	Append(records [][]byte) error
	// Peek gives at most n of those that are next; one that cannot be opened is nil.
	Peek(n int) ([][]byte, error)
	// Drop takes the first n off that Peek gave last.
	Drop(n int) error
	// Len is how many there are.
	Len() int
	// Full says that what room there is should be kept for the calls that are up.
	Full() bool
}

// Journal writes calls down in the order in which it is told, many in one
// transaction. Telling it never waits: a call's audio and signalling go on while
// the database is away. What the store does not take is put into the spool, and is
// written when it is back, by this process or the next: an entry that is written again
// changes nothing.
type Journal struct {
	strangers strangers
	store     store.Store
	spool     Spool // nil = none
	ladders   Ladders
	clock     func() time.Time
	log       *slog.Logger
	node      string
	box       *seal.Box
	digest    func(masking.TenantID, e164.Number) [32]byte
	mu        sync.Mutex
	queue     []entry                       // newer than all of the spool
	states    map[masking.CallID]*keptState // of the calls with an entry of kept in the queue, the newest each
	wake      chan struct{}
	stop      func()        // write what waits, then end
	stops     chan struct{} // closed by stop
	abort     func()        // end without the store
	done      chan struct{}
	caught    chan struct{} // closed when the spool was first seen empty
	length    atomic.Int64  // of the queue
	unsaid    atomic.Int64  // refusals that were not written

	w progress // owned by write
}

type entry struct {
	moment  masking.Moment
	event   masking.EventID // of the event that tells of it, the same however often it is tried
	call    masking.Call
	zone    *time.Location
	at      time.Time
	refusal *refusal
	state   *keptState // of kept: the newest when the writer took it; nil if the call's end has been told by then
	ladder  []byte     // of a last one, as it was when the writer took it
	written bool       // or given up
}

type refusal struct {
	ask  masking.Ask
	plan masking.Plan
	why  masking.Refusal
	at   time.Time
}

// JournalOptions are what a Journal works with; all but Ladders, Spool and Digest are
// required, Seal only for Keep and Left.
type JournalOptions struct {
	Store   store.Store
	Spool   Spool // nil = what waits is lost with the process
	Clock   func() time.Time
	Log     *slog.Logger
	Node    string
	Seal    *seal.Box
	Ladders Ladders // nil = records without
	// Digest is by what erasures are told apart (masking.ErasedDigest); nil = none is looked for.
	Digest func(masking.TenantID, e164.Number) [32]byte
}

// NewJournal makes a Journal and starts its writer; Close ends it.
func NewJournal(o JournalOptions) *Journal {
	if o.Ladders == nil {
		o.Ladders = noLadders{}
	}
	ctx, abort := context.WithCancel(context.Background())
	j := &Journal{store: o.Store, spool: o.Spool, ladders: o.Ladders, clock: o.Clock, log: o.Log, node: o.Node, box: o.Seal, digest: o.Digest,
		states: map[masking.CallID]*keptState{}, wake: make(chan struct{}, 1), stops: make(chan struct{}), abort: abort, done: make(chan struct{}),
		caught: make(chan struct{})}
	j.stop = sync.OnceFunc(func() { close(j.stops) })
	go j.write(ctx)
	return j
}

// Note writes a moment of a call down, without waiting.
func (j *Journal) Note(m masking.Moment, c masking.Call, zone *time.Location) {
	if m == masking.Began || m == masking.Ended { // one that was taken up again does not begin
		j.ladders.Keep(c.ID)
	}
	j.add(entry{moment: m, call: c, zone: zone, at: j.clock()})
}

// Seen says that the last message is through of a call whose end was written before.
// It does not wait.
func (j *Journal) Seen(id masking.CallID) {
	j.add(entry{moment: allSeen, call: masking.Call{ID: id}, at: j.clock()})
}

// full are the refusals of calls that would have been let in.
var full = []masking.Refusal{masking.RefusedCallerBusy, masking.RefusedAllocationLimit, masking.RefusedTenantLimit,
	masking.RefusedDayCalls, masking.RefusedDayTalk, masking.RefusedDestination}

func (j *Journal) refused(r refusal) {
	who := refusedCaller{r.ask.Called, r.ask.Caller, r.why}
	// A party who is busy, or for whom there is no place, has called: that counts,
	// however often. A stranger who is asked for a PIN can be busy as well.
	partys := slices.Contains(full, r.why) && r.plan.Allocation.ID != ""
	if !partys && (j.Waiting() >= strangersAt || !j.strangers.worthWriting(who, r.at)) {
		j.unsaid.Add(1)
		return
	}
	j.ladders.Keep(r.ask.Call)
	j.add(entry{moment: rejected, at: r.at, refusal: &r})
}

// callID is the call of which e tells.
func (e entry) callID() masking.CallID {
	if e.refusal != nil {
		return e.refusal.ask.Call
	}
	return e.call.ID
}

// allocation is the one that e counts in, if there is one.
func (e entry) allocation() masking.AllocationID {
	if e.refusal != nil {
		return e.refusal.plan.Allocation.ID
	}
	return e.call.Allocation
}

// last reports whether a ladder is written with e, if it is whole by then.
func (e entry) last() bool {
	return e.moment == masking.Ended || e.moment == rejected || e.moment == allSeen
}

func (j *Journal) add(e entry) {
	e.event = newEventID(e.at)
	j.mu.Lock()
	if e.moment == masking.Ended {
		delete(j.states, e.call.ID) // nobody would ever read it
	}
	j.queue = append(j.queue, e)
	j.length.Store(int64(len(j.queue)))
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Behind reports that there is no room for what new calls would need, most likely
// because the database is away: none should be taken. Those that are up need at most
// a few entries each, so what waits stays bounded.
func (j *Journal) Behind() bool {
	return j.length.Load() >= behindAt || j.spool != nil && j.spool.Full()
}

// Waiting is how many entries are not in the store yet.
func (j *Journal) Waiting() int { return int(j.length.Load()) + j.Spooled() }

// Spooled is how many of them are in the spool.
func (j *Journal) Spooled() int {
	if j.spool == nil {
		return 0
	}
	return j.spool.Len()
}

// Unwritten is how many refusals were not written down for want of room.
func (j *Journal) Unwritten() int64 { return j.unsaid.Load() }

// Caught is closed once all is written that earlier runs have left in the spool: then
// the records of the calls that were up can be judged.
func (j *Journal) Caught() <-chan struct{} { return j.caught }

// Close writes what is waiting, or leaves it in the spool to the next run, and ends the
// writer. With ctx done it gives up and tells how many entries are lost. Nothing may be
// noted after it.
func (j *Journal) Close(ctx context.Context) error {
	j.stop()
	defer j.abort()
	var err error
	select {
	case <-j.done:
	case <-ctx.Done():
		j.abort()
		<-j.done
		err = ctx.Err()
	}
	if n := j.Spooled(); n > 0 {
		j.log.Warn("call records wait in the data folder for the next start", "entries", n)
	}
	if lost := j.length.Load(); lost > 0 {
		j.log.Error("call records could not be written before the end", "entries", lost)
		return err
	}
	return nil
}

// apply writes one moment and its event, both only once whatever is repeated. over tells
// that it was the end of a call that had been routed.
func (j *Journal) apply(ctx context.Context, tx store.Tx, e entry) (over bool, err error) {
	switch e.moment {
	case masking.Ended:
		return j.end(ctx, tx, e)
	case rejected:
		return false, j.applyRefusal(ctx, tx, e)
	}
	return false, j.note(ctx, tx, e)
}

// note writes a moment of a call that goes on, or what comes after its end.
func (j *Journal) note(ctx context.Context, tx store.Tx, e entry) error {
	switch e.moment {
	case masking.Began:
		_, err := tx.BeginCall(ctx, e.call)
		return err
	case masking.Matched:
		_, err := tx.MatchCall(ctx, e.call)
		return err
	case masking.Rang:
		return j.rang(ctx, tx, e)
	case masking.Answered:
		changed, err := tx.AnswerCall(ctx, e.call)
		if err != nil || !changed {
			return err
		}
		if e.call.Recorded {
			if err := tx.BeginRecording(ctx, begunRecording(e.call, j.clock())); err != nil {
				return err
			}
		}
		return j.event(ctx, tx, masking.EventCallAnswered, e)
	case kept:
		if e.state == nil || e.state.sealed == nil {
			return nil
		}
		_, err := tx.KeepCallState(ctx, e.call, e.state.sealed)
		return err
	case masking.Taped:
		r := begunRecording(e.call, j.clock())
		r.StartedAt = e.at
		return tx.BeginRecording(ctx, r)
	case allSeen:
		if e.ladder != nil {
			return tx.WriteLadder(ctx, j.node, e.call.ID, e.ladder)
		}
		return nil
	}
	return nil
}

// end writes the end of a call.
func (j *Journal) end(ctx context.Context, tx store.Tx, e entry) (over bool, err error) {
	e.call.Ladder = e.ladder
	changed, err := tx.EndCall(ctx, e.call)
	if err != nil || !changed {
		return false, err
	}
	if e.call.Cause == masking.CauseRejected { // he was asked for a PIN, and had none
		return false, j.event(ctx, tx, masking.EventCallRejected, e)
	}
	return true, j.event(ctx, tx, masking.EventCallCompleted, e)
}

// rang tells that a call rings, but not of one that is over or another node's by now: what
// comes late, as out of the spool of a node that was taken for dead, must not come after
// the end that another one has told of.
func (j *Journal) rang(ctx context.Context, tx store.Tx, e entry) error {
	own, err := tx.OwnCalls(ctx, e.call.Node, []masking.CallID{e.call.ID})
	if err != nil || len(own) == 0 {
		return err
	}
	return j.event(ctx, tx, masking.EventCallRinging, e)
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
	why, silent, err := better(ctx, tx, route, r.ask, r.why, r.at)
	if err != nil {
		return err
	}
	allocation := cmp.Or(silent, r.plan.Allocation.ID)
	e.call = masking.Call{ID: r.ask.Call, Tenant: route.Tenant.ID, Allocation: r.plan.Allocation.ID,
		VirtualNumber: r.ask.Called, Caller: r.ask.Caller, CustomField: r.plan.Allocation.CustomField, Node: j.node,
		StartedAt: r.ask.Received, EndedAt: r.at, Cause: masking.CauseRejected, Refusal: why, Ladder: e.ladder}
	e.zone = route.Tenant.Settings.Zone
	if e, err = j.forget(ctx, tx, e); err != nil {
		return err
	}
	fresh, err := tx.BeginCall(ctx, e.call)
	if err != nil || !fresh {
		return err
	}
	// The call is one of the allocation's only where it matched; the event may
	// still name the allocation that explains the refusal.
	e.call.Allocation = allocation
	return j.event(ctx, tx, masking.EventCallRejected, e)
}

// better gives the reason of a refusal as a record has it: of a stranger whom a
// oneway allocation lets be called only, that allocation says more. Routing had no
// need to look for it.
func better(ctx context.Context, tx store.RouteReader, route masking.Route, a masking.Ask, why masking.Refusal,
	at time.Time) (masking.Refusal, masking.AllocationID, error) {
	if why != masking.RefusedStranger {
		return why, "", nil
	}
	silent, found, err := tx.Silent(ctx, a.Called, a.Caller, at)
	if err != nil || !found {
		return why, "", err
	}
	var said masking.Refusal
	route.Found = []masking.Allocation{silent}
	if _, err := masking.Admit(route, a.Caller, at); errors.As(err, &said) {
		return said, silent.ID, nil
	}
	return why, "", nil
}

func (j *Journal) event(ctx context.Context, tx store.Tx, typ masking.EventType, e entry) error {
	return tx.AppendEvent(ctx, masking.CallEvent(e.event, typ, e.call, e.zone, e.at))
}

func newEventID(at time.Time) masking.EventID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return masking.EventID(masking.NewID(masking.PrefixEvent, at, random))
}
