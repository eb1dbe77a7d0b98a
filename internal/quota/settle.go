package quota

import (
	"context"
	"time"
)

// run gives back what is not used, and sees to it that what is used stands in the
// ledger.
func (q *Quota) run(ctx context.Context) {
	tick := time.NewTicker(settles)
	defer tick.Stop()
	for {
		idle := false
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-tick.C:
			idle = true
		}
		if err := q.settle(ctx, idle); err != nil && ctx.Err() == nil {
			q.log.Warn("what this node uses of bounds that nodes share is not known to the others now", "error", err.Error())
		}
	}
}

// settle compares this node's shares with the ledger. idle says that a second has
// passed: bounds of which no place was wanted meanwhile keep nothing to spare.
func (q *Quota) settle(ctx context.Context, idle bool) error {
	began := time.Now()
	if !q.due(began) {
		return nil
	}
	shares, err := q.ledger.Shares(ctx)
	if err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.owes = true
		return err
	}
	put, a := q.plan(shares, began, idle)
	if len(put) > 0 {
		err = q.ledger.Put(ctx, put)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for name := range put {
		b := q.bounds[name]
		b.asking = nil
		q.forget(name, b)
	}
	close(a.done)
	if len(put) > 0 {
		q.owes = true // whether it stands there now, the next look tells
	}
	return err
}

// due reports whether there is anything to compare. What the ledger may have got without
// our knowing of it from now on, as by a Hold that fails, is for the next look.
func (q *Quota) due(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.owes {
		q.owes = false
		return true
	}
	for _, b := range q.bounds {
		if b.held > 0 || (b.most > 0 && b.used > 0) {
			return true
		}
	}
	q.looked = now
	return false
}

// plan says which shares are to be put otherwise than they stand in the ledger, and
// takes at once what is given back. What is put beyond what stands there is relied on
// once a look has found it, with what others hold: they may have taken these places.
// Nobody asks for these bounds before a is done.
func (q *Quota) plan(shares map[string]Share, began time.Time, idle bool) (put map[string]int, a *asking) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.looked = began
	put, a = map[string]int{}, &asking{done: make(chan struct{}), quiet: true}
	for name := range shares {
		q.bound(name) // one that is not known here is given back
	}
	for name, b := range q.bounds {
		if b.asking != nil || b.wait > 0 {
			continue
		}
		stands, known := shares[name]
		if known {
			b.others = stands.Others
		}
		keep := 0
		if b.most > 0 {
			keep = b.used
			if spare := min(b.held, stands.Held) - b.used; spare > 0 && (b.busy || !idle) {
				keep += min(spare, max(grant(b.used, 0, b.others, b.most)-b.used, 0))
			}
		}
		if idle {
			b.busy = false
		}
		if keep == stands.Held && keep >= b.held {
			b.held = keep
			q.forget(name, b)
			continue
		}
		b.held, b.asking = min(keep, stands.Held), a
		put[name] = keep
	}
	return put, a
}
