package control

import (
	"context"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// candidates is how many usable numbers an automatic choice looks at: more than
// one, since another request may take the best between the look and the claim.
const candidates = 8

// choice is what a look at the pool gave: numbers to try, best first, or when
// there may be one.
type choice struct {
	numbers []masking.VirtualNumber
	retry   time.Time // zero: not known
}

// look chooses for a request that names no number. It reads beside the writer:
// a pool without a number left must cost nobody else his change. A request that
// is wrong is not looked for; the change refuses it, or has its answer kept.
func (s *Allocations) look(ctx context.Context, t masking.Tenant, want NewAllocation) (near choice, err error) {
	now := s.now()
	a, invalid := want.New("", t, now)
	if invalid != nil || !want.VirtualNumber.IsZero() {
		return near, nil
	}
	err = s.view(ctx, "choose a number", func(ctx context.Context, tx store.Reader) error {
		near, err = choose(ctx, tx, a, want.Preferences, now)
		return err
	})
	return near, err
}

// choose asks the pool in the order of masking's picks until it has numbers
// enough to try. One that answers two picks stands where the first put it.
func choose(ctx context.Context, tx store.Reader, a masking.Allocation, prefer masking.Preferences, now time.Time) (c choice, err error) {
	parties := a.Parties()
	for _, pick := range prefer.Picks() {
		if len(c.numbers) >= candidates {
			return c, nil
		}
		usable, err := tx.Usable(ctx, a.Tenant, pick, parties, now, candidates)
		if err != nil {
			return c, err
		}
		for _, vn := range masking.Rank(usable) {
			if !slices.ContainsFunc(c.numbers, func(have masking.VirtualNumber) bool { return have.Number == vn.Number }) {
				c.numbers = append(c.numbers, vn)
			}
		}
	}
	if len(c.numbers) == 0 {
		c.retry, err = tx.EarliestRelease(ctx, a.Tenant, parties, now)
	}
	return c, err
}

// placeAnywhere tries the numbers that the look gave. If it gave some and others
// have taken all of them meanwhile, the pool is asked once more, now that nobody
// can come between.
func (p placing) placeAnywhere(ctx context.Context, tx store.Tx, a masking.Allocation, near choice) (masking.Allocation, error) {
	if len(near.numbers) == 0 {
		return a, masking.ErrNoNumber(near.retry)
	}
	a.VirtualNumber = near.numbers[0].Number // the row comes before the claims that point to it
	if err := tx.InsertAllocation(ctx, a); err != nil {
		return a, err
	}
	placed, ok, err := p.tryEach(ctx, tx, a, near.numbers)
	if err != nil || ok {
		return placed, err
	}
	again, err := choose(ctx, tx, a, p.prefer, p.now)
	if err != nil {
		return a, err
	}
	placed, ok, err = p.tryEach(ctx, tx, a, again.numbers)
	if err == nil && !ok {
		err = masking.ErrNoNumber(again.retry)
	}
	return placed, err
}

// tryEach puts the allocation, whose row is written, on the first of the numbers
// that takes it; ok tells whether one did.
func (p placing) tryEach(ctx context.Context, tx store.Tx, a masking.Allocation, numbers []masking.VirtualNumber) (_ masking.Allocation, ok bool, err error) {
	written := a.VirtualNumber
	for _, vn := range numbers {
		// It may have left the pool since the look, or be shared otherwise.
		have, err := tx.Number(ctx, a.Tenant, vn.Number)
		if masking.KindOf(err) == masking.NotFound || (err == nil && have.Sharing != vn.Sharing) {
			continue
		}
		if err != nil {
			return a, false, err
		}
		a.VirtualNumber = vn.Number
		if a, err = p.fallback(ctx, tx, a); err == nil {
			err = tx.Hold(ctx, a, vn.Sharing, p.now)
		}
		if kind := masking.KindOf(err); kind == masking.Conflict || kind == masking.Exhausted {
			continue
		}
		if err == nil && (a.VirtualNumber != written || a.PIN != "") {
			err = tx.UpdateAllocation(ctx, a)
		}
		return a, err == nil, err
	}
	return a, false, nil
}
