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

	mu      sync.Mutex
	bounds  map[string]*bound
	arrived uint64    // how many have wanted a place
	looked  time.Time // when the shares were last seen in the ledger
	owes    bool      // the ledger may have more than what is known of here
	closed  bool

	wake chan struct{}
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// bound is what is known of one. Quota.mu guards it.
type bound struct {
	used   int // places in use on this node
	held   int // its share, as far as it is relied on; used may be more, of what was there before it was bounded
	others int // what others held when the ledger was last seen
	most   int // the bound; 0 = none
	busy   bool
	asking *asking // nil = nobody asks the ledger now
	wait   int     // how many wait for an answer, or have one and have not looked yet
}

// room is how many places this node may use. While there are more than the bound in all,
// as after it was lowered, its share is no leave to let new ones in.
func (b *bound) room() int { return min(b.held, b.most-b.others) }

// asking is one question to the ledger.
type asking struct {
	done  chan struct{}
	upTo  uint64 // whoever had arrived when it began is answered by it
	err   error
	quiet bool // it asks for nobody
}

// New makes a Quota. Without a ledger this node is alone, and no bound is shared.
func New(ledger Ledger, log *slog.Logger) *Quota {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Quota{ledger: ledger, log: log, bounds: map[string]*bound{}, looked: time.Now(), wake: make(chan struct{}, 1), stop: stop}
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

// Take takes a place if there is one below most; with 0 there always is one. An error
// says that nobody knows. Give gives it back.
func (q *Quota) Take(ctx context.Context, name string, most int) (bool, error) {
	q.mu.Lock()
	q.arrived++
	mine := q.arrived
	q.mu.Unlock()
	var answer *asking
	for {
		q.mu.Lock()
		if answer != nil {
			q.bounds[name].wait--
		}
		took, ask := q.try(name, most, answer, mine)
		q.mu.Unlock()
		if took || ask == nil {
			return took, nil
		}
		if err := await(ctx, ask); err != nil {
			q.mu.Lock()
			defer q.mu.Unlock()
			b := q.bounds[name]
			b.wait--
			q.forget(name, b)
			return false, err
		}
		answer = ask
	}
}

// try takes a place, or gives a question whose answer is to be waited for; neither
// means that there is no place. q.mu is held.
func (q *Quota) try(name string, most int, answer *asking, mine uint64) (took bool, ask *asking) {
	b := q.bound(name)
	b.most, b.busy = most, true
	switch {
	case most == 0, q.ledger == nil && b.used < most, b.used < b.room() && q.relies(b):
		b.used++
		return true, nil
	case q.ledger == nil, q.closed, b.used >= most:
		q.forget(name, b)
		return false, nil
	case answer != nil && answer.upTo >= mine && !answer.quiet:
		if b.used < b.room() { // just now, so it is fresh enough
			b.used++
			return true, nil
		}
		q.forget(name, b)
		return false, nil
	}
	b.wait++
	if b.asking == nil {
		b.asking = &asking{done: make(chan struct{}), upTo: q.arrived}
		used, more := b.used, b.wait
		a := b.asking
		q.wg.Go(func() { q.ask(name, a, used, more, most) })
	}
	return false, b.asking
}

// relies reports whether the share is surely still this node's, and nobody is about to
// write it by what was in use a moment ago.
func (q *Quota) relies(b *bound) bool {
	return (b.asking == nil || b.asking.quiet) && time.Since(q.looked) < fresh
}

// await waits for the answer to a question.
func await(ctx context.Context, ask *asking) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ask.done:
		if ask.err != nil {
			return errors.Join(ErrUnknown, ask.err)
		}
		return nil
	case <-timer.C:
		return ErrUnknown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask asks the ledger for more places. No place is taken of this node's share
// meanwhile, since there is none left or it is not relied on.
func (q *Quota) ask(name string, a *asking, used, more, most int) {
	held, others, err := q.ledger.Hold(context.Background(), name, func(others int) int { return grant(used, more, others, most) })
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.bounds[name]
	b.asking = nil
	if a.err = err; err == nil {
		b.held, b.others = held, others
		q.count(b) // what was added meanwhile
	} else {
		q.owes = true
	}
	q.forget(name, b)
	close(a.done)
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
	if b.used == 0 && b.held == 0 && b.wait == 0 && b.asking == nil {
		delete(q.bounds, name)
	}
}
