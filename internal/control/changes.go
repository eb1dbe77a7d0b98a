package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// edit is a change of one allocation, inside the transaction that read it.
type edit func(ctx context.Context, tx store.Tx, a masking.Allocation, now time.Time) (masking.Allocation, error)

// update runs an edit and tells of it.
func (s *Allocations) update(ctx context.Context, t masking.Tenant, id masking.AllocationID, doing string, once Once[Snapshot], fn edit) (Answer, error) {
	return change(ctx, s.core, t.ID, doing, once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Snapshot, error) {
			a, err := tx.Allocation(ctx, t.ID, id)
			if err != nil {
				return Snapshot{}, err
			}
			next, err := fn(ctx, tx, a, now)
			if err != nil {
				return Snapshot{}, err
			}
			if err := tx.UpdateAllocation(ctx, next); err != nil {
				return Snapshot{}, err
			}
			return s.tell(ctx, tx, masking.EventUpdated, next, t.Settings.Zone, now)
		})
}

// UpdateParties replaces one side or both; nil leaves a side as it is. A side that
// loses somebody and has a PIN gets another. Refused
// as Create refuses parties, and with Conflict once the allocation has ended.
// A call that is up keeps the parties it started with.
func (s *Allocations) UpdateParties(ctx context.Context, t masking.Tenant, id masking.AllocationID, from, to []e164.Number, once Once[Snapshot]) (Answer, error) {
	return s.update(ctx, t, id, "update parties", once,
		func(ctx context.Context, tx store.Tx, a masking.Allocation, now time.Time) (masking.Allocation, error) {
			next, err := a.WithParties(from, to, now)
			if err != nil {
				return a, err
			}
			if err := t.Settings.Guards.CheckParties(a, next); err != nil {
				return a, err
			}
			if err := checkParties(ctx, tx, next); err != nil {
				return a, err
			}
			w := wanted{on: a.VirtualNumber, length: t.Settings.PINLength, now: now}
			if next, err = s.renewPINs(ctx, tx, a, next, w); err != nil {
				return a, err
			}
			// The request names no virtual number, so no field of it is to blame.
			return next, blameless(hold(ctx, tx, next, now))
		})
}

// UpdateNumber moves the allocation to another number of the pool. Refused: a
// number outside the pool, one that others hold, an allocation that has ended.
// PINs that are not free there are drawn anew.
func (s *Allocations) UpdateNumber(ctx context.Context, t masking.Tenant, id masking.AllocationID, n e164.Number, once Once[Snapshot]) (Answer, error) {
	return s.update(ctx, t, id, "update the virtual number", once,
		func(ctx context.Context, tx store.Tx, a masking.Allocation, now time.Time) (masking.Allocation, error) {
			next, err := a.WithVirtualNumber(n, now)
			if err != nil {
				return a, err
			}
			if n != a.VirtualNumber && a.PIN != "" {
				if next, err = s.withPINs(ctx, tx, next, t.Settings.PINLength, now); err != nil {
					return a, err
				}
			}
			if err := hold(ctx, tx, next, now); err != nil || n == a.VirtualNumber {
				return next, err
			}
			if err := tx.NoteUse(ctx, a.VirtualNumber, -1, now); err != nil {
				return next, err
			}
			return next, tx.NoteUse(ctx, n, +1, now)
		})
}

// Patch changes what the published page fixes at creation: the life, counted
// from now, recording and the custom field.
func (s *Allocations) Patch(ctx context.Context, t masking.Tenant, id masking.AllocationID, p masking.Patch, once Once[Snapshot]) (Answer, error) {
	return s.update(ctx, t, id, "patch an allocation", once,
		func(ctx context.Context, tx store.Tx, a masking.Allocation, now time.Time) (masking.Allocation, error) {
			next, err := a.WithPatch(p, t.Settings, now)
			if err != nil || next.ExpiresAt.Equal(a.ExpiresAt) {
				return next, err
			}
			return next, blameless(hold(ctx, tx, next, now)) // the claims end with the allocation
		})
}

// hold makes the allocation's claims those that its present number and parties
// ask for.
func hold(ctx context.Context, tx store.Tx, a masking.Allocation, now time.Time) error {
	vn, err := poolNumber(ctx, tx, a.Tenant, a.VirtualNumber)
	if err != nil {
		return err
	}
	return tx.Hold(ctx, a, vn.Sharing, now)
}

// blameless removes the blamed field from a refusal.
func blameless(err error) error {
	var refused *masking.Error
	if !errors.As(err, &refused) {
		return err
	}
	e := *refused
	e.Field = ""
	return &e
}

// Delete ends an allocation for the tenant. One that has ended already is
// answered as it ended, so that a retry is safe. terminate ends its connected
// calls as well, also on a second Delete.
func (s *Allocations) Delete(ctx context.Context, t masking.Tenant, id masking.AllocationID, terminate bool, once Once[Snapshot]) (Answer, error) {
	return s.end(ctx, t, id, ending{scope: t.ID, why: masking.EndedByAPI, terminate: terminate}, once)
}

// End is Delete by the operator, under a key of the operator's.
func (s *Allocations) End(ctx context.Context, t masking.Tenant, id masking.AllocationID, terminate bool, once Once[Snapshot]) (Answer, error) {
	return s.end(ctx, t, id, ending{scope: operators, why: masking.EndedByAdmin, terminate: terminate}, once)
}

// ending says who ends an allocation, and how.
type ending struct {
	scope     masking.TenantID // of the Idempotency-Key
	why       masking.EndReason
	terminate bool // connected calls too
}

func (s *Allocations) end(ctx context.Context, t masking.Tenant, id masking.AllocationID, e ending, once Once[Snapshot]) (Answer, error) {
	var callsConcerned bool
	answer, err := change(ctx, s.core, e.scope, "end an allocation", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Snapshot, error) {
			a, err := tx.Allocation(ctx, t.ID, id)
			if err != nil {
				return Snapshot{}, err
			}
			a, changed := a.End(e.why, now)
			callsConcerned = changed || e.terminate
			if !changed {
				return Snapshot{a, now}, nil
			}
			return s.writeEnd(ctx, tx, a, t.Settings.Zone, now)
		})
	if err == nil && callsConcerned {
		s.ended(id, e.terminate)
	}
	return answer, err
}

// writeEnd writes an allocation's end, frees its number and tells of it.
func (c *core) writeEnd(ctx context.Context, tx store.Tx, a masking.Allocation, zone *time.Location, now time.Time) (Snapshot, error) {
	if err := tx.UpdateAllocation(ctx, a); err != nil {
		return Snapshot{}, err
	}
	if err := tx.Release(ctx, a.ID); err != nil {
		return Snapshot{}, err
	}
	if err := tx.NoteUse(ctx, a.VirtualNumber, -1, now); err != nil {
		return Snapshot{}, err
	}
	return c.tell(ctx, tx, masking.EventDeallocated, a, zone, now)
}

// Sweep writes the end of at most limit allocations whose time is over: it
// frees their numbers for the automatic choice and tells of the end, once each at
// whichever node. It gives how many it wrote. Nothing depends on it being prompt: expiry is
// judged by the clock wherever it matters.
func (s *Allocations) Sweep(ctx context.Context, limit int) (int, error) {
	var swept []masking.AllocationID
	err := s.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		overdue, err := tx.Overdue(ctx, s.now(), 1)
		swept = make([]masking.AllocationID, len(overdue))
		return err
	})
	if err != nil || len(swept) == 0 {
		return 0, s.fail(ctx, "look for expired allocations", err)
	}
	err = s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		now := s.now()
		swept = swept[:0]
		overdue, err := tx.Overdue(ctx, now, limit)
		if err != nil {
			return err
		}
		// Nodes that sweep at once touch the numbers in one order, and never meet crosswise.
		slices.SortStableFunc(overdue, func(a, b masking.Allocation) int {
			return strings.Compare(a.VirtualNumber.E164(), b.VirtualNumber.E164())
		})
		zones := map[masking.TenantID]*time.Location{}
		for _, a := range overdue {
			zone, err := zoneOf(ctx, tx, a.Tenant, zones)
			if err != nil {
				return err
			}
			a, _ = a.End(masking.EndedByExpired, now)
			if _, err := s.writeEnd(ctx, tx, a, zone, now); err != nil {
				return err
			}
			swept = append(swept, a.ID)
		}
		return nil
	})
	if err != nil {
		return 0, s.fail(ctx, "end expired allocations", err)
	}
	for _, id := range swept {
		s.ended(id, false)
	}
	return len(swept), nil
}

func zoneOf(ctx context.Context, tx store.Tx, id masking.TenantID, known map[masking.TenantID]*time.Location) (*time.Location, error) {
	if zone := known[id]; zone != nil {
		return zone, nil
	}
	t, err := tx.Tenant(ctx, id)
	if err != nil {
		return nil, err
	}
	known[id] = t.Settings.Zone
	return t.Settings.Zone, nil
}
