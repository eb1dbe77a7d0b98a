package control

import (
	"context"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Blocked are the use cases of the callers of whom a tenant lets nothing through.
type Blocked struct{ *core }

// BlockedCaller is one of them.
type BlockedCaller = store.BlockedCaller

// List reads those after a number, in order; more tells whether others follow.
func (s *Blocked) List(ctx context.Context, t masking.TenantID, after string, limit int) (page []BlockedCaller, more bool, err error) {
	err = s.view(ctx, "list blocked callers", func(ctx context.Context, tx store.Reader) (err error) {
		page, err = tx.BlockedCallers(ctx, t, after, limit+1)
		return err
	})
	page, more = cut(page, limit)
	return page, more, err
}

// Add blocks callers from their next call on. One who is blocked already gets the
// note.
func (s *Blocked) Add(ctx context.Context, t masking.TenantID, callers []e164.Number, note string, once Once[[]BlockedCaller]) (Answer, error) {
	return change(ctx, s.core, t, "block callers", once,
		func(ctx context.Context, tx store.Tx, now time.Time) ([]BlockedCaller, error) {
			added := make([]BlockedCaller, len(callers))
			for i, n := range callers {
				added[i] = BlockedCaller{Tenant: t, Number: n, Note: note, CreatedAt: now}
				if err := tx.BlockCaller(ctx, added[i]); err != nil {
					return nil, err
				}
			}
			return added, nil
		})
}

// Remove lets a caller through again. NotFound for one who is not blocked.
func (s *Blocked) Remove(ctx context.Context, t masking.TenantID, n e164.Number, once Once[e164.Number]) (Answer, error) {
	return change(ctx, s.core, t, "unblock a caller", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (e164.Number, error) {
			return n, tx.UnblockCaller(ctx, t, n)
		})
}
