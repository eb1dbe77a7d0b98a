package ratelimit

import (
	"context"
	"sync"
	"time"
)

// Ledger keeps the state of keys where all nodes see it.
type Ledger interface {
	// Lend counts up to n requests of a key at once, as many as its limit lets through
	// now, as the function Take would one by one. It gives how many those are, and the
	// state after them.
	Lend(ctx context.Context, key string, l Limit, n int, now time.Time) (lent int, s State, err error)
}

const (
	// leased is what a node takes ahead: what the sustained rate gives in this time, an
	// eighth of the burst at most, and whatever that is, one.
	leased = 100 * time.Millisecond
	// good is how long what was taken ahead can be used.
	good = time.Second
	// patience is how long a request waits for the ledger.
	patience = 250 * time.Millisecond
	// remembered is how many keys this process counts for itself at once.
	remembered = 100_000
)

// Shared keeps limits that all nodes share, in a Ledger. It takes a few requests ahead
// at a time, so that not each has to wait for it. On all nodes together no more than
// burst + rate·t requests pass in any stretch of time t, and beyond that no more than
// what each node had taken ahead.
//
// Where the ledger does not answer, this process counts for itself, as Memory does: a
// limit bounds what requests cost, and is no reason to answer none.
type Shared struct {
	alone  *Memory[string]
	ledger Ledger // nil: there are no other nodes

	mu     sync.Mutex
	leases map[string]*lease
	turn   []string // the keys of leases, in the order in which tidy looks at them
	closed bool
	wg     sync.WaitGroup // questions; added to under mu, while not closed
}

// lease is what is known of a key. Shared.mu guards it.
type lease struct {
	left   int           // requests taken ahead
	until  time.Time     // they are good until then
	state  State         // when the ledger was asked last
	asking chan struct{} // closed with the answer; nil = nobody asks
	wait   int           // requests that wait for it
	failed bool          // there was none to the last question
}

// NewShared makes a Shared. Without a ledger this process counts for itself.
func NewShared(ledger Ledger) *Shared {
	return &Shared{alone: NewMemory[string](remembered), ledger: ledger, leases: map[string]*lease{}}
}

// Close waits for what is asked of the ledger, and asks nothing more.
func (s *Shared) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wg.Wait()
}

// Take counts one request of key against the limit.
func (s *Shared) Take(ctx context.Context, key string, l Limit, now time.Time) Decision {
	if s.ledger == nil || l.burst < 1 {
		return s.alone.Take(key, l, now)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		d, known, asking := s.look(key, l, now)
		if known {
			return d
		}
		answered := asking != nil
		if answered {
			select {
			case <-asking:
			case <-ctx.Done():
				answered = false
			}
			answered = s.waited(key) && answered
		}
		if !answered {
			return s.alone.Take(key, l, now)
		}
	}
}

// look decides by what is known of the key, or gives a channel that is closed when
// more is; nil if nobody asks any more.
func (s *Shared) look(key string, l Limit, now time.Time) (d Decision, known bool, asking <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tidy(now)
	e := s.leases[key]
	if e == nil {
		e = &lease{}
		s.leases[key] = e
		s.turn = append(s.turn, key)
	}
	if e.left > 0 && now.Before(e.until) {
		e.left--
		return e.told(l, now), true, nil
	}
	if _, d := Take(e.state, l, now); !d.Allowed {
		return d, true, nil // others can only have made it fuller
	}
	if s.closed {
		return Decision{}, false, nil
	}
	e.wait++
	if e.asking == nil {
		e.asking = make(chan struct{})
		n := min(max(1, min(int(leased/l.interval), l.burst/8), e.wait), l.burst)
		s.wg.Go(func() { s.ask(key, e, l, n, now) })
	}
	return Decision{}, false, e.asking
}

// tidied is how many keys a request looks at beside its own: more than one, so that they
// become fewer however many new ones come.
const tidied = 2

// tidy forgets what is known of keys of which there is nothing to know any more, a few at
// a time. s.mu is held.
func (s *Shared) tidy(now time.Time) {
	for range min(tidied, len(s.turn)) {
		key := s.turn[0]
		s.turn = s.turn[1:]
		if s.leases[key].stale(now) {
			delete(s.leases, key)
		} else {
			s.turn = append(s.turn, key)
		}
	}
}

// stale reports whether e says no more than a key that was never seen: nothing that was
// taken ahead is good, the limit is full again, and nobody waits.
func (e *lease) stale(now time.Time) bool {
	return e.asking == nil && e.wait == 0 && (e.left == 0 || !now.Before(e.until)) && !e.state.Full.After(now)
}

// Len is of how many keys something is known.
func (s *Shared) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.leases)
}

// told is the decision on a request that passes by what was taken ahead.
func (e *lease) told(l Limit, now time.Time) Decision {
	debt := max(e.state.Full.Sub(now), 0)
	return Decision{Allowed: true, Remaining: e.left + int(max(l.fill()-debt, 0)/l.interval), Reset: debt}
}

func (s *Shared) ask(key string, e *lease, l Limit, n int, now time.Time) {
	lent, state, err := s.ledger.Lend(context.Background(), key, l, n, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.failed = err != nil; err == nil {
		e.left, e.until, e.state = lent, now.Add(good), state
	}
	close(e.asking)
	e.asking = nil
}

// waited counts one fewer who waits, and reports whether the ledger answered last.
func (s *Shared) waited(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.leases[key]
	e.wait--
	return !e.failed
}
