// Package quota bounds how many of something may be there at once, on all nodes
// together: a tenant's calls, a trunk's channels. It imports nothing of ours.
//
// Of each bound a node holds a share, that no other node can use, and what it holds
// stands in a Ledger that all nodes see: the shares of a bound are never more than
// the bound. As long as its share lasts a node asks nobody. When it does not, it
// asks for one place more and, while there are many left, for a few to spare; what
// it does not use it gives back within a second or two. So while nodes hold places
// to spare one of them may be refused a little early, and never is one let in beyond
// the bound.
package quota

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Ledger is where all nodes see what each holds.
type Ledger interface {
	// Hold writes this node's share of a bound: what decide makes of the sum of all
	// others' shares, which nobody changes meanwhile. decide may be run more than once.
	Hold(ctx context.Context, bound string, decide func(others int) int) (held, others int, err error)
	// Shares gives this node's shares and what all others hold of the same bounds.
	Shares(ctx context.Context) (map[string]Share, error)
	// Put writes shares of this node whatever others hold; one of 0 is none.
	Put(ctx context.Context, held map[string]int) error
}

// Share is what this node and what all others hold of a bound.
type Share struct{ Held, Others int }

// ErrUnknown says that the ledger did not answer in time.
var ErrUnknown = errors.New("quota: it is not known how many there are on other nodes")

// What a node asks for beyond what it needs: a quarter of what is left, and not more
// than mostSpare.
const (
	mostSpare = 16
	settles   = time.Second
	// fresh is how long after the last look at the ledger a share is relied on. Others
	// may take this node for dead, and its share with it, a lease after its last sign of
	// life, which can be a heartbeat older than the look (masking.Lease, Heartbeat).
	fresh = 3 * time.Second
	// patience is how long one who wants a place waits for the ledger.
	patience = 500 * time.Millisecond
	// small bounds are those of which an unused place is given back at once.
	small = 16
)

// grant is the share of a node that uses some places and wants more: enough for all of
// them and a few to spare, if others leave so much, and never less than it uses.
func grant(used, more, others, most int) int {
	room := most - others
	need := used + more
	if need > room {
		return max(used, room)
	}
	return need + min(mostSpare, (room-need)/4)
}

// Quota is this node's part in all bounds. Any goroutine may use it.
type Quota struct {
	ledger Ledger // nil: there are no other nodes
	log    *slog.Logger

	mu     sync.Mutex
	bounds map[string]*bound
	owes   bool // the ledger may have more than what is known of here
	closed bool

	wake chan struct{}
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// bound is what is known of one. Quota.mu guards it.
type bound struct {
	used    int       // places in use on this node
	held    int       // its share, as far as it is relied on; used may be more, of what was there before it was bounded
	others  int       // what others held when the ledger was last seen
	most    int       // the bound; 0 = none
	busy    bool      // somebody has wanted a place since the last second began
	seen    time.Time // the share surely stood in the ledger then
	changes time.Time // since when the ledger is writing the share; zero = it is not
	waiting []*waiter // for the next question, since this node does not know
}

// room is how many places this node may use. While there are more than the bound in all,
// as after it was lowered, its share is no leave to let new ones in.
func (b *bound) room() int { return min(b.held, b.most-b.others) }

// waiter is one who wants a place.
type waiter struct {
	answer chan answer // room for one
	gone   bool        // he waits no more; Quota.mu guards it
}

type answer struct {
	took bool
	err  error
}

// New makes a Quota. Without a ledger this node is alone, and no bound is shared.
func New(ledger Ledger, log *slog.Logger) *Quota {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Quota{ledger: ledger, log: log, bounds: map[string]*bound{}, wake: make(chan struct{}, 1), stop: stop}
	if ledger != nil {
		q.wg.Go(func() { q.run(ctx) })
	}
	return q
}

// Close waits for what is asked of the ledger. Shares stay there until the node is
// gone from it.
func (q *Quota) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.stop()
	q.wg.Wait()
}

// Waiting gives the context of one who wants several places and has waited for so long
// for some of them. It ends, with ErrUnknown, when that has been half a second.
func Waiting(ctx context.Context, waited time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience-waited, ErrUnknown)
}

// Take takes a place if there is one below most; with 0 there always is one. An error
// says that nobody knows: within half a second, and before ctx ends. Give gives it back.
func (q *Quota) Take(ctx context.Context, name string, most int) (bool, error) {
	w, took, err := q.want(ctx, name, most)
	if w == nil {
		return took, err
	}
	ctx, cancel := Waiting(ctx, 0)
	defer cancel()
	select {
	case a := <-w.answer:
		return a.took, a.err
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case a := <-w.answer: // in this moment
		return a.took, a.err
	default:
		w.gone = true
		return false, context.Cause(ctx)
	}
}

// want takes a place if this node knows whether there is one. If not it gives a waiter
// who is answered once the ledger is; but nobody waits for one that is silent.
func (q *Quota) want(ctx context.Context, name string, most int) (w *waiter, took bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bound(name)
	defer q.forget(name, b)
	b.most, b.busy = most, true
	took, known := q.try(b)
	switch {
	case known:
		return nil, took, nil
	case ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case !b.changes.IsZero() && time.Since(b.changes) >= patience:
		return nil, false, ErrUnknown
	}
	w = &waiter{answer: make(chan answer, 1)}
	b.waiting = append(b.waiting, w)
	q.ask(name, b)
	return w, false, nil
}

// try takes a place if there surely is one; known says that the answer holds. q.mu is held.
func (q *Quota) try(b *bound) (took, known bool) {
	if b.most == 0 || q.ledger == nil && b.used < b.most || b.used < b.room() && time.Since(b.seen) < fresh {
		b.used++
		return true, true
	}
	return false, q.ledger == nil || q.closed || b.used >= b.most
}

// ask asks the ledger for a place for everybody who waits, unless it is writing the share
// already: then they are dealt with after that. q.mu is held.
func (q *Quota) ask(name string, b *bound) {
	if !b.changes.IsZero() {
		return
	}
	began, asked := time.Now(), b.waiting
	b.changes, b.waiting = began, nil
	b.held = min(b.held, b.used) // it becomes that at least, by what is in use now
	used, most := b.used, b.most
	q.wg.Go(func() {
		held, others, err := q.ledger.Hold(context.Background(), name, func(others int) int { return grant(used, len(asked), others, most) })
		q.mu.Lock()
		defer q.mu.Unlock()
		if err == nil {
			b.held, b.others, b.seen = held, others, began
			q.count(b) // what was added meanwhile
		} else {
			q.owes = true
			asked, err = append(asked, b.waiting...), errors.Join(ErrUnknown, err)
			b.waiting = nil
		}
		for _, w := range asked {
			if w.gone {
				continue
			}
			a := answer{err: err}
			if err == nil {
				a.took, _ = q.try(b)
			}
			w.answer <- a
		}
		q.changed(name, b)
	})
}

// changed goes on after the ledger has written a share, or failed to. q.mu is held.
func (q *Quota) changed(name string, b *bound) {
	b.changes = time.Time{}
	b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool {
		if w.gone {
			return true
		}
		took, known := q.try(b)
		if known {
			w.answer <- answer{took: took}
		}
		return known
	})
	if len(b.waiting) > 0 {
		q.ask(name, b)
	}
	q.forget(name, b)
}

// Room says whether Take would give a place, as far as this node knows, and takes none.
func (q *Quota) Room(name string, most int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bounds[name]
	return most == 0 || b == nil || b.used+b.others < most
}

// Add takes a place whatever the bound, for what is there already; most is the bound,
// 0 if there is none. The other nodes are told at once.
func (q *Quota) Add(name string, most int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bound(name)
	b.most = most
	b.used++
	q.count(b)
}

// count sees to it that the others know what is in use beyond the share. q.mu is held.
func (q *Quota) count(b *bound) {
	if b.most > 0 && b.used > b.held {
		q.settleNow()
	}
}

// settleNow wakes who settles.
func (q *Quota) settleNow() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Give gives a place back that Take or Add has taken.
func (q *Quota) Give(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bounds[name]
	b.used--
	if b.most > 0 && b.most <= small && b.used < b.held {
		q.settleNow()
	}
	q.forget(name, b)
}

// Len is how many bounds have a place taken, or a share held.
func (q *Quota) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.bounds)
}

func (q *Quota) bound(name string) *bound {
	b := q.bounds[name]
	if b == nil {
		b = &bound{}
		q.bounds[name] = b
	}
	return b
}

// forget keeps nothing of a bound of which there is nothing. q.mu is held.
func (q *Quota) forget(name string, b *bound) {
	if b.used == 0 && b.held == 0 && b.changes.IsZero() {
		delete(q.bounds, name)
	}
}
