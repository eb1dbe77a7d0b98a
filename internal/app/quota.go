package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"tandem/internal/quota"
	"tandem/internal/store"
	"tandem/internal/web/ratelimit"
)

// ledger is where nodes on one database see what each holds of the bounds that they
// keep together.
type ledger struct {
	store store.Store
	node  string
}

// openQuota begins to keep bounds. On SQLite there is no other node to ask.
func (a *App) openQuota() {
	var shared quota.Ledger
	if a.o.Config.SQLitePath() == "" {
		shared = ledger{a.store, a.node}
	}
	a.quota = quota.New(shared, a.log)
	a.onStop(func(context.Context) error { a.quota.Close(); return nil })
}

// openRates begins to keep the rates of tenants' requests.
func (a *App) openRates() *ratelimit.Shared {
	var shared ratelimit.Ledger
	if a.o.Config.SQLitePath() == "" {
		shared = ledger{a.store, a.node}
	}
	rates := ratelimit.NewShared(shared)
	a.onStop(func(context.Context) error { rates.Close(); return nil })
	return rates
}

// Lend counts requests against a limit that all nodes share.
func (l ledger) Lend(ctx context.Context, key string, limit ratelimit.Limit, n int, now time.Time) (lent int, s ratelimit.State, err error) {
	err = l.store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		lent, s.Full, err = tx.TakeRate(ctx, key, store.Rate{Interval: limit.Interval(), Burst: limit.Burst()}, n, now)
		return err
	})
	return lent, s, err
}

// Hold writes a share by what others hold.
func (l ledger) Hold(ctx context.Context, bound string, decide func(others int) int) (held, others int, err error) {
	err = l.store.Update(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		if others, err = tx.LockBound(ctx, bound, l.node); err != nil {
			return err
		}
		held = decide(others)
		return tx.SetShare(ctx, bound, l.node, held)
	})
	return held, others, err
}

// Shares are those of this node.
func (l ledger) Shares(ctx context.Context) (shares map[string]quota.Share, err error) {
	err = l.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		shares = map[string]quota.Share{}
		found, err := tx.Shares(ctx, l.node)
		for bound, s := range found {
			shares[bound] = quota.Share(s)
		}
		return err
	})
	return shares, err
}

// putAtOnce bounds how many bounds are locked at the same time.
const putAtOnce = 100

// Put writes shares. Bounds are locked in one order, so that nodes do not meet crosswise.
func (l ledger) Put(ctx context.Context, held map[string]int) error {
	for some := range slices.Chunk(slices.Sorted(maps.Keys(held)), putAtOnce) {
		err := l.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			for _, bound := range some {
				if _, err := tx.LockBound(ctx, bound, l.node); err != nil {
					return err
				}
				if err := tx.SetShare(ctx, bound, l.node, held[bound]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
