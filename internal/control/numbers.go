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
			if _, err := tx.Tenant(ctx, t); err != nil {
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

// Get reads a number of a tenant's pool.
func (s *Numbers) Get(ctx context.Context, t masking.TenantID, n e164.Number) (vn masking.VirtualNumber, err error) {
	err = s.view(ctx, "read a number", func(ctx context.Context, tx store.Reader) error {
		vn, err = tx.Number(ctx, t, n)
		return err
	})
	return vn, err
}

// List reads a tenant's pool in the order of the numbers, from the one after
// after; more tells whether others follow.
func (s *Numbers) List(ctx context.Context, t masking.TenantID, after string, limit int) (page []masking.VirtualNumber, more bool, err error) {
	err = s.view(ctx, "list numbers", func(ctx context.Context, tx store.Reader) error {
		if _, err := tx.Tenant(ctx, t); err != nil {
			return err
		}
		page, err = tx.Numbers(ctx, t, after, limit+1)
		return err
	})
	page, more = cut(page, limit)
	return page, more, err
}

// Update changes sharing, region and type by edit, which must be pure. Conflict
// for sharing while an allocation on the number is active.
func (s *Numbers) Update(ctx context.Context, t masking.TenantID, n e164.Number, edit func(masking.VirtualNumber) masking.VirtualNumber, once Once[masking.VirtualNumber]) (Answer, error) {
	return change(ctx, s.core, operators, "change a number", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (masking.VirtualNumber, error) {
			vn, err := tx.Number(ctx, t, n)
			if err != nil {
				return vn, err
			}
			vn = edit(vn)
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
