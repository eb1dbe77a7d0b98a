package control

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// What a forecast looks back at: a day, and no more allocations than can be read in a
// moment; of more the newest, and the time that they took to come.
const (
	lookBack      = 24 * time.Hour
	livesRemember = 10_000
)

// Capacity is how full a pool is, and what its exclusive numbers come to.
type Capacity struct {
	Stocks    []masking.Stock
	Exclusive masking.Demand
	masking.Forecast
}

// Capacity tells how full a tenant's pool is, by what its numbers are, and when the
// exclusive ones run out at today's rate. Shared ones never are as a whole: whether
// one is left depends on who meets.
func (s *Numbers) Capacity(ctx context.Context, t masking.TenantID) (c Capacity, err error) {
	now := s.now()
	err = s.view(ctx, "read the capacity of a pool", func(ctx context.Context, tx store.Reader) error {
		if c.Stocks, err = tx.Stocks(ctx, t, now); err != nil {
			return err
		}
		c.Exclusive, err = tx.Demand(ctx, t, now.Add(-lookBack), now, livesRemember)
		return err
	})
	c.Forecast = c.Exclusive.Forecast(now)
	return c, err
}

// Prospect is the number that an allocation would get; zero with when there may be one.
type Prospect struct {
	Number masking.VirtualNumber
	Retry  time.Time // zero: not known
}

// Foresee tells which number the automatic choice would take now. It refuses what
// Create refuses, and takes nothing.
func (s *Allocations) Foresee(ctx context.Context, t masking.Tenant, want NewAllocation) (p Prospect, err error) {
	now := s.now()
	a, err := want.New("", t, now)
	if err != nil {
		return p, err
	}
	err = s.view(ctx, "foresee a choice", func(ctx context.Context, tx store.Reader) error {
		if err := checkParties(ctx, tx, a); err != nil {
			return err
		}
		c, err := choose(ctx, tx, a, want.Preferences, now)
		if p.Retry = c.retry; len(c.numbers) > 0 {
			p.Number = c.numbers[0]
		}
		return err
	})
	return p, err
}
