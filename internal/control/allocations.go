package control

import (
	"context"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Allocations are the use cases of a tenant's allocations. The tenant is the
// one who was authenticated.
type Allocations struct{ *core }

// A Snapshot is an allocation as it was at a moment, which decides its status.
type Snapshot struct {
	masking.Allocation
	At time.Time
}

// NewAllocation is what Create is asked for.
type NewAllocation struct {
	masking.Draft
	VirtualNumber e164.Number         // zero: choose one
	Preferences   masking.Preferences // of the choice
}

// Create lends a virtual number to two sides.
//
// Refused: a number outside the tenant's pool, parties that are virtual
// numbers, what masking.Draft refuses, and with Conflict a number or party that
// another active allocation holds. With no number asked for, the best of the
// pool is taken; Exhausted says that there is none and when there may be.
func (s *Allocations) Create(ctx context.Context, t masking.Tenant, want NewAllocation, once Once[Snapshot]) (Answer, error) {
	near, err := s.look(ctx, t, want)
	if err != nil {
		return Answer{}, err
	}
	return change(ctx, s.core, t.ID, "create an allocation", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Snapshot, error) {
			id, err := s.newID(masking.PrefixAllocation, now)
			if err != nil {
				return Snapshot{}, err
			}
			a, err := want.New(masking.AllocationID(id), t, now)
			if err != nil {
				return Snapshot{}, err
			}
			if err := checkParties(ctx, tx, a); err != nil {
				return Snapshot{}, err
			}
			p := placing{s.core, t.Settings, want.Preferences, now}
			if a, err = p.place(ctx, tx, a, want.VirtualNumber, near); err != nil {
				return Snapshot{}, err
			}
			if err := tx.NoteUse(ctx, a.VirtualNumber, +1, now); err != nil {
				return Snapshot{}, err
			}
			return s.tell(ctx, tx, masking.EventCreated, a, t.Settings.Zone, now)
		})
}

// placing is what an allocation needs on its way to a number.
type placing struct {
	*core
	settings masking.Settings // its tenant's
	prefer   masking.Preferences
	now      time.Time
}

// place writes the allocation on the number asked for, or on the best that can
// carry it.
func (p placing) place(ctx context.Context, tx store.Tx, a masking.Allocation, asked e164.Number, near choice) (masking.Allocation, error) {
	if asked.IsZero() {
		return p.placeAnywhere(ctx, tx, a, near)
	}
	vn, err := poolNumber(ctx, tx, a.Tenant, asked)
	if err != nil {
		return a, err
	}
	a.VirtualNumber = vn.Number
	if a, err = p.fallback(ctx, tx, a); err != nil {
		return a, err
	}
	if err := tx.InsertAllocation(ctx, a); err != nil {
		return a, err
	}
	return a, tx.Hold(ctx, a, vn.Sharing, p.now)
}

// poolNumber reads a number that must be in the tenant's pool.
func poolNumber(ctx context.Context, tx store.Tx, t masking.TenantID, n e164.Number) (masking.VirtualNumber, error) {
	vn, err := tx.Number(ctx, t, n)
	if masking.KindOf(err) == masking.NotFound {
		return vn, masking.ErrNotInPool()
	}
	return vn, err
}

// tell appends the event of a change and gives the snapshot that is answered.
func (c *core) tell(ctx context.Context, tx store.Tx, typ masking.EventType, a masking.Allocation, zone *time.Location, now time.Time) (Snapshot, error) {
	id, err := c.newID(masking.PrefixEvent, now)
	if err != nil {
		return Snapshot{}, err
	}
	var reason masking.EndReason
	if typ == masking.EventDeallocated {
		reason = a.EndReason
	}
	e := masking.AllocationEvent(masking.EventID(id), typ, a, zone, reason, now)
	return Snapshot{a, now}, tx.AppendEvent(ctx, e)
}

// Get reads one allocation, ended ones too.
func (s *Allocations) Get(ctx context.Context, t masking.Tenant, id masking.AllocationID) (Snapshot, error) {
	return s.allocation(ctx, t.ID, id)
}

func (c *core) allocation(ctx context.Context, t masking.TenantID, id masking.AllocationID) (Snapshot, error) {
	var a masking.Allocation
	err := c.view(ctx, "read an allocation", func(ctx context.Context, tx store.Reader) (err error) {
		a, err = tx.Allocation(ctx, t, id)
		return err
	})
	return Snapshot{a, c.now()}, err
}

// AllocationQuery narrows a list; zero fields do not.
type AllocationQuery struct {
	Status        masking.Status
	VirtualNumber e164.Number
	Party         e164.Number
	After         masking.AllocationID // the last one of the page before
	Limit         int
}

// List reads allocations, newest first; more tells whether others follow.
func (s *Allocations) List(ctx context.Context, t masking.Tenant, q AllocationQuery) (page []Snapshot, more bool, err error) {
	return s.list(ctx, t.ID, masking.GreenVN, q)
}

func (c *core) list(ctx context.Context, t masking.TenantID, of masking.Product, q AllocationQuery) (page []Snapshot, more bool, err error) {
	now := c.now()
	var found []masking.Allocation
	err = c.view(ctx, "list allocations", func(ctx context.Context, tx store.Reader) (err error) {
		found, err = tx.Allocations(ctx, store.AllocationFilter{Tenant: t, Product: of, Status: q.Status,
			VirtualNumber: q.VirtualNumber, Party: q.Party, Before: q.After, Limit: q.Limit + 1, Now: now})
		return err
	})
	found, more = cut(found, q.Limit)
	page = make([]Snapshot, len(found))
	for i, a := range found {
		page[i] = Snapshot{a, now}
	}
	return page, more, err
}

// cut takes a page from a list that was asked for one more than the page holds.
func cut[T any](found []T, limit int) (page []T, more bool) {
	if len(found) > limit {
		return found[:limit], true
	}
	return found, false
}
