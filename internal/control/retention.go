package control

import (
	"context"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Retention removes what tenants keep no longer: ended allocations, calls and
// events. (Recordings sweeps the sound of calls before that.)
type Retention struct{ *core }

// Sweep removes at most limit rows of what is too old, the oldest of each tenant
// first, and gives how many.
func (s *Retention) Sweep(ctx context.Context, limit int) (done int, err error) {
	due, err := s.due(ctx)
	for _, t := range due {
		if err != nil || done >= limit {
			break
		}
		var n int
		n, err = s.forget(ctx, t, limit-done)
		done += n
	}
	return done, err
}

// due are the tenants of whom something is to be removed. It only reads: as a rule
// there is nothing.
func (s *Retention) due(ctx context.Context) (due []masking.TenantID, err error) {
	err = s.view(ctx, "look for old records", func(ctx context.Context, tx store.Reader) error {
		tenants, err := tx.Tenants(ctx)
		if err != nil {
			return err
		}
		due = nil
		for _, t := range tenants {
			before := t.Settings.KeptSince(s.now())
			if before.IsZero() {
				continue
			}
			found, err := tx.AnyOutlived(ctx, t.ID, before)
			if err != nil {
				return err
			}
			if found {
				due = append(due, t.ID)
			}
		}
		return nil
	})
	return due, err
}

// forget removes at most limit rows of one tenant, in one transaction: calls before
// the allocations that they name.
func (s *Retention) forget(ctx context.Context, id masking.TenantID, limit int) (n int, err error) {
	var calls, events, allocations int
	err = s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		calls, events, allocations = 0, 0, 0
		t, err := tx.Tenant(ctx, id)
		before := t.Settings.KeptSince(s.now()) // he may have decided otherwise since
		if err != nil || before.IsZero() {
			return err
		}
		if calls, err = tx.ForgetCalls(ctx, id, before, limit); err != nil {
			return err
		}
		if events, err = tx.ForgetEvents(ctx, id, before, limit-calls); err != nil {
			return err
		}
		allocations, err = tx.ForgetAllocations(ctx, id, before, limit-calls-events)
		return err
	})
	if err != nil {
		return 0, s.fail(ctx, "remove old records", err)
	}
	if n = calls + events + allocations; n > 0 {
		s.log.InfoContext(ctx, "old records removed", "tenant", string(id), "calls", calls, "events", events, "allocations", allocations)
	}
	return n, nil
}

// checkPlace refuses to go on behind a place if events that came after it have been
// removed: whoever asks would miss them and not know.
func checkPlace(ctx context.Context, tx store.Reader, t masking.TenantID, after int64) error {
	if after == 0 {
		return nil
	}
	gone, err := tx.EventsGone(ctx, t)
	if err == nil && after < gone {
		err = masking.ErrEventsGone()
	}
	return err
}
