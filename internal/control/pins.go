package control

import (
	"context"
	"errors"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Pins are the use cases of a tenant's GreenPin allocations: those that a caller
// opens with a PIN. Allocations.Sweep writes the end of theirs too.
type Pins struct{ *core }

// NewPin is what Create is asked for.
type NewPin struct {
	masking.Draft
	VirtualNumber e164.Number
}

// Create lends a virtual number to two sides and draws the PIN that opens it. The
// other side may be named later.
//
// Refused: a number outside the tenant's pool, parties that are virtual numbers,
// what masking.Draft refuses; with Conflict an exclusive number that carries a
// GreenVN allocation; with Exhausted one that has no PIN left.
func (s *Pins) Create(ctx context.Context, t masking.Tenant, want NewPin, once Once[Snapshot]) (Answer, error) {
	want.Product = masking.GreenPin
	return change(ctx, s.core, t.ID, "create a PIN allocation", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Snapshot, error) {
			a, vn, err := s.draft(ctx, tx, t, want, now)
			if err != nil {
				return Snapshot{}, err
			}
			a.PIN, err = s.newPIN(ctx, tx, wanted{on: vn.Number, length: t.Settings.PINLength, now: now})
			if err != nil {
				return Snapshot{}, err
			}
			if err := tx.InsertAllocation(ctx, a); err != nil {
				return Snapshot{}, err
			}
			if err := tx.Hold(ctx, a, vn.Sharing, now); err != nil {
				return Snapshot{}, err
			}
			if err := tx.NoteUse(ctx, vn.Number, +1, now); err != nil {
				return Snapshot{}, err
			}
			return s.tell(ctx, tx, masking.EventCreated, a, t.Settings.Zone, now)
		})
}

// draft makes the allocation without its PIN, and reads its number.
func (s *Pins) draft(ctx context.Context, tx store.Tx, t masking.Tenant, want NewPin, now time.Time) (a masking.Allocation, vn masking.VirtualNumber, err error) {
	id, err := s.newID(masking.PrefixPIN, now)
	if err != nil {
		return a, vn, err
	}
	if a, err = want.New(masking.AllocationID(id), t, now); err != nil {
		return a, vn, err
	}
	if err := checkParties(ctx, tx, a); err != nil {
		return a, vn, err
	}
	vn, err = poolNumber(ctx, tx, t.ID, want.VirtualNumber)
	a.VirtualNumber = vn.Number
	return a, vn, err
}

// Get reads one allocation, ended ones too.
func (s *Pins) Get(ctx context.Context, t masking.Tenant, id masking.AllocationID) (Snapshot, error) {
	return s.allocation(ctx, t.ID, id)
}

// List reads allocations, newest first; more tells whether others follow.
func (s *Pins) List(ctx context.Context, t masking.Tenant, q AllocationQuery) (page []Snapshot, more bool, err error) {
	return s.list(ctx, t.ID, masking.GreenPin, q)
}

// PinChange is what an update is asked for; nil leaves a field as it is.
type PinChange struct {
	From, To []e164.Number
	masking.Patch
}

// Empty reports whether nothing would change.
func (w PinChange) Empty() bool { return w.From == nil && w.To == nil && w.Patch == masking.Patch{} }

// judge gives the allocation as it will be, with the claims that it needs then. A
// refusal leaves everything as it was.
func (w PinChange) judge(ctx context.Context, tx store.Tx, a masking.Allocation, s masking.Settings, now time.Time) (masking.Allocation, error) {
	next, err := a.WithPatch(w.Patch, s, now)
	if err != nil {
		return a, err
	}
	if w.From != nil || w.To != nil {
		if next, err = next.WithParties(w.From, w.To, now); err != nil {
			return a, err
		}
		if err := s.Guards.CheckParties(a, next); err != nil {
			return a, err
		}
		if err := checkParties(ctx, tx, next); err != nil {
			return a, err
		}
	}
	return next, blameless(hold(ctx, tx, next, now))
}

// Update changes parties, life (counted from now), tries, recording and custom
// field; the PIN stays. Refused as Create refuses, and with Conflict once the
// allocation has ended.
func (s *Pins) Update(ctx context.Context, t masking.Tenant, id masking.AllocationID, want PinChange, once Once[Snapshot]) (Answer, error) {
	return change(ctx, s.core, t.ID, "update a PIN allocation", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Snapshot, error) {
			next, err := s.judge(ctx, tx, t, PinItem{ID: id, PinChange: want}, now)
			if err != nil {
				return Snapshot{}, err
			}
			return s.write(ctx, tx, next, t.Settings.Zone, now)
		})
}

// judge reads an allocation and what will become of it.
func (s *Pins) judge(ctx context.Context, tx store.Tx, t masking.Tenant, item PinItem, now time.Time) (masking.Allocation, error) {
	if item.Wrong != nil {
		return masking.Allocation{}, item.Wrong
	}
	a, err := tx.Allocation(ctx, t.ID, item.ID)
	if err != nil {
		return a, err
	}
	return item.PinChange.judge(ctx, tx, a, t.Settings, now)
}

func (s *Pins) write(ctx context.Context, tx store.Tx, next masking.Allocation, zone *time.Location, now time.Time) (Snapshot, error) {
	if err := tx.UpdateAllocation(ctx, next); err != nil {
		return Snapshot{}, err
	}
	return s.tell(ctx, tx, masking.EventUpdated, next, zone, now)
}

// PinItem is one of many updates.
type PinItem struct {
	ID masking.AllocationID
	PinChange
	Wrong *masking.Error // refused already, as written
}

// PinOutcome is what became of one: the allocation, or why it is as it was.
type PinOutcome struct {
	Snapshot
	Refused *masking.Error
}

// UpdateMany applies updates in order, each for itself: one that is refused
// changes nothing and keeps no other from being applied. All that are applied are
// so at once, with the one answer that tells of each; only if the store fails is
// none.
func (s *Pins) UpdateMany(ctx context.Context, t masking.Tenant, items []PinItem, once Once[[]PinOutcome]) (Answer, error) {
	return change(ctx, s.core, t.ID, "update PIN allocations", once,
		func(ctx context.Context, tx store.Tx, now time.Time) ([]PinOutcome, error) {
			out := make([]PinOutcome, len(items))
			for i, item := range items {
				next, err := s.judge(ctx, tx, t, item, now)
				if refused := refusal(err); refused != nil {
					out[i].Refused = refused
					continue
				}
				if err != nil {
					return nil, err
				}
				if out[i].Snapshot, err = s.write(ctx, tx, next, t.Settings.Zone, now); err != nil {
					return nil, err
				}
			}
			return out, nil
		})
}

// refusal is the rule's refusal that err is, nil for anything else.
func refusal(err error) *masking.Error {
	var refused *masking.Error
	if errors.As(err, &refused) && refused.Kind != masking.Unavailable {
		return refused
	}
	return nil
}

// Delete ends an allocation, an expired one too. One that was deleted is Conflict
// (published). terminate ends its connected calls as well.
func (s *Pins) Delete(ctx context.Context, t masking.Tenant, id masking.AllocationID, terminate bool, once Once[Snapshot]) (Answer, error) {
	var callsConcerned bool
	answer, err := change(ctx, s.core, t.ID, "end a PIN allocation", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Snapshot, error) {
			callsConcerned = false
			a, err := tx.Allocation(ctx, t.ID, id)
			if err != nil {
				return Snapshot{}, err
			}
			a, told, err := a.Remove(now)
			if err != nil {
				return Snapshot{}, err
			}
			callsConcerned = !told || terminate
			if told {
				return Snapshot{a, now}, tx.UpdateAllocation(ctx, a)
			}
			return s.writeEnd(ctx, tx, a, t.Settings.Zone, now)
		})
	if err == nil && callsConcerned {
		s.ended(id, terminate)
	}
	return answer, err
}

// Unlock forgets wrong PINs: those of one caller, or with a zero caller those of
// all who stand in the allocation. Conflict once it has ended.
func (s *Pins) Unlock(ctx context.Context, t masking.Tenant, id masking.AllocationID, caller e164.Number, once Once[Snapshot]) (Answer, error) {
	return change(ctx, s.core, t.ID, "unlock a PIN allocation", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Snapshot, error) {
			a, err := tx.Allocation(ctx, t.ID, id)
			if err != nil {
				return Snapshot{}, err
			}
			if a.Status(now) != masking.Active {
				return Snapshot{}, &masking.Error{Kind: masking.Conflict, Code: masking.CodeAllocationNotActive, Message: "the allocation has ended"}
			}
			return Snapshot{a, now}, tx.ForgetWrong(ctx, a, caller)
		})
}
