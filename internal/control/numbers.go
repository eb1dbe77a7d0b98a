package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Numbers are the use cases of the pools.
type Numbers struct{ *core }

// Add puts numbers into a tenant's pool, all or none. Conflict for a number
// that stands in any pool or is a party of an active allocation; the refusal
// names its place in the list.
func (s *Numbers) Add(ctx context.Context, t masking.TenantID, numbers []masking.VirtualNumber, once Once[[]masking.VirtualNumber]) (Answer, error) {
	return change(ctx, s.core, operators, "add numbers", once,
		func(ctx context.Context, tx store.Tx, now time.Time) ([]masking.VirtualNumber, error) {
			tenant, err := tx.Tenant(ctx, t)
			if err != nil {
				return nil, err
			}
			added := make([]masking.VirtualNumber, len(numbers))
			for i, n := range numbers {
				n.Tenant, n.CreatedAt = t, now
				if err := tx.InsertNumber(ctx, n, now); err != nil {
					return nil, blame(err, fmt.Sprintf("numbers[%d].number", i))
				}
				added[i] = n
			}
			for i, n := range added { // now that all of them are in the pool
				if err := checkStrangers(ctx, tx, tenant.ID, tenant.Settings.Guards, n.Strangers); err != nil {
					return nil, Within(err, fmt.Sprintf("numbers[%d].", i))
				}
			}
			return added, nil
		})
}

// blame names the field that a refusal is about.
func blame(err error, field string) error {
	var refused *masking.Error
	if !errors.As(err, &refused) {
		return err
	}
	e := *refused
	e.Field = field
	return &e
}

// Within says that the field a refusal is about is part of another.
func Within(err error, place string) error {
	var refused *masking.Error
	if !errors.As(err, &refused) || refused.Field == "" {
		return err
	}
	e := *refused
	e.Field, e.Message = place+e.Field, place+e.Message
	return &e
}

// checkStrangers refuses a treatment of strangers that cannot be carried out.
func checkStrangers(ctx context.Context, tx store.Tx, tenant masking.TenantID, g masking.Guards, p masking.StrangerPolicy) error {
	if err := p.Check(); err != nil {
		return err
	}
	return checkForward(ctx, tx, tenant, g, p.Forward)
}

// countedPINs bounds what is counted of PINs: more than a number ever has.
const countedPINs = 1_000_000

// Get reads a number of a tenant's pool.
func (s *Numbers) Get(ctx context.Context, t masking.TenantID, n e164.Number) (found Occupied, err error) {
	now := s.now()
	err = s.view(ctx, "read a number", func(ctx context.Context, tx store.Reader) error {
		vn, err := tx.Number(ctx, t, n)
		if err != nil {
			return err
		}
		found, err = occupied(ctx, tx, vn, now)
		return err
	})
	return found, err
}

// occupied reads what is not in the number itself.
func occupied(ctx context.Context, tx store.Reader, vn masking.VirtualNumber, now time.Time) (n Occupied, err error) {
	n.VirtualNumber = vn
	if n.PINs, err = livePINs(ctx, tx, vn.Number, now); err != nil {
		return n, err
	}
	h, err := tx.NumberHealth(ctx, vn.Tenant, vn.Number)
	n.Health = h.At(now)
	return n, err
}

// livePINs counts the PINs that are live on a number.
func livePINs(ctx context.Context, tx store.PINReader, n e164.Number, now time.Time) (pins int, err error) {
	lengths, err := tx.PINLengths(ctx, n, now)
	for _, length := range lengths {
		live, err := tx.PINCount(ctx, n, length, now, countedPINs)
		if err != nil {
			return 0, err
		}
		pins += live
	}
	return pins, err
}

// Occupied is a number, how many PINs are live on it, and whether networks let calls
// through that show it.
type Occupied struct {
	masking.VirtualNumber
	PINs   int
	Health masking.NumberHealth
}

// List reads a tenant's pool in the order of the numbers, from the one after
// after; more tells whether others follow.
func (s *Numbers) List(ctx context.Context, t masking.TenantID, after string, limit int) (page []Occupied, more bool, err error) {
	now := s.now()
	err = s.view(ctx, "list numbers", func(ctx context.Context, tx store.Reader) error {
		if _, err := tx.Tenant(ctx, t); err != nil {
			return err
		}
		numbers, err := tx.Numbers(ctx, t, after, limit+1)
		if err != nil {
			return err
		}
		numbers, more = cut(numbers, limit)
		page = make([]Occupied, len(numbers))
		for i, n := range numbers {
			if page[i], err = occupied(ctx, tx, n, now); err != nil {
				return err
			}
		}
		return nil
	})
	return page, more, err
}

// Update changes sharing, region, type and strangers by edit, which must be pure. Conflict
// for sharing while an allocation on the number is active.
func (s *Numbers) Update(ctx context.Context, t masking.TenantID, n e164.Number, edit func(masking.VirtualNumber) masking.VirtualNumber, once Once[masking.VirtualNumber]) (Answer, error) {
	return change(ctx, s.core, operators, "change a number", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (masking.VirtualNumber, error) {
			vn, err := tx.Number(ctx, t, n)
			if err != nil {
				return vn, err
			}
			had := vn.Strangers
			if vn = edit(vn); vn.Strangers != had {
				tenant, err := tx.Tenant(ctx, t)
				if err != nil {
					return vn, err
				}
				if err := checkStrangers(ctx, tx, tenant.ID, tenant.Settings.Guards, vn.Strangers); err != nil {
					return vn, err
				}
			}
			return vn, tx.UpdateNumber(ctx, vn, now)
		})
}

// Remove takes a number out of the pool. Conflict while an allocation on it is
// active.
func (s *Numbers) Remove(ctx context.Context, t masking.TenantID, n e164.Number, once Once[e164.Number]) (Answer, error) {
	return change(ctx, s.core, operators, "remove a number", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (e164.Number, error) {
			return n, tx.DeleteNumber(ctx, t, n, now)
		})
}
