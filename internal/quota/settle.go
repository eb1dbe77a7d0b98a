package quota

import (
	"context"
	"time"
)

// run gives back what is not used, and sees to it that what is used stands in the
// ledger.
func (q *Quota) run(ctx context.Context) {
	tick := time.NewTicker(settles)
	failing := false
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
		err := q.settle(ctx, idle)
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			q.log.Warn("what this node uses of bounds that nodes share is not known to the others now", "error", err.Error())
		case err == nil && failing:
			q.log.Info("what this node uses of bounds that nodes share is known to the others again")
		}
		failing = err != nil
	}
}

// settle compares this node's shares with the ledger. idle says that a second has
// passed: bounds of which no place was wanted meanwhile keep nothing to spare.
func (q *Quota) settle(ctx context.Context, idle bool) error {
	if !q.due() {
		return nil
	}
	began := time.Now()
	shares, err := q.ledger.Shares(ctx)
	var put map[string]int
	if err == nil {
		if put = q.plan(shares, began, idle); len(put) > 0 {
			err = q.ledger.Put(ctx, put)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil || len(put) > 0 {
		q.owes = true // what stands there now, the next look tells
	}
	for name := range put {
		q.changed(name, q.bounds[name])
	}
	return err
}

// due reports whether there is anything to compare. What the ledger may have got without
// our knowing of it from now on, as by a Hold that fails, is for the next look.
func (q *Quota) due() bool {
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
	return false
}

// plan says which shares are to be put otherwise than they stand in the ledger, and
// takes at once what is given back. What is put beyond what stands there is relied on
// once a look has found it, with what others hold: they may have taken these places.
func (q *Quota) plan(shares map[string]Share, began time.Time, idle bool) (put map[string]int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	put = map[string]int{}
	for name := range shares {
		q.bound(name) // one that is not known here is given back
	}
	for name, b := range q.bounds {
		if !b.changes.IsZero() {
			continue
		}
		stands, known := shares[name]
		if known {
			b.others, b.seen = stands.Others, began
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
		b.held, b.changes = min(keep, stands.Held), time.Now()
		put[name] = keep
	}
	return put
}
