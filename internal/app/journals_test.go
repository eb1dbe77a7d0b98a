package app

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
	"tandem/internal/testkit/postgres"
	"tandem/internal/voice/callflow"
)

// counted counts how often transactions begin, and how often they are run.
type counted struct {
	store.Store
	begun, runs atomic.Int64
}

func (c *counted) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	c.begun.Add(1)
	return c.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		c.runs.Add(1)
		return fn(ctx, tx)
	})
}

// Calls through the same numbers, which networks refuse, are at two nodes, half of them of
// the same allocations, and are at each in the other order.
func TestTwoNodesWriteCallsOfTheSameAllocationsWithoutMeeting(t *testing.T) {
	server := postgres.Start(t)
	c := place(t, server.URL(server.Database(t, "")))
	const numbers, rounds = 100, 8
	var common []masking.Allocation
	var own [2][]masking.Allocation
	with(t, c, func(s store.Store) {
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			if err := tx.InsertTenant(ctx, storetest.Tenant(t, "acme")); err != nil {
				return err
			}
			for i := range numbers {
				if err := tx.InsertNumber(ctx, storetest.Number("acme", storetest.Virtual(i), masking.Shared), storetest.Start()); err != nil {
					return err
				}
				for k, of := range []*[]masking.Allocation{&common, &own[0], &own[1]} {
					a := storetest.Allocation("acme", storetest.AllocationID(k*numbers+i), storetest.Virtual(i), storetest.People(1000+i), storetest.People(2000+i))
					if err := tx.InsertAllocation(ctx, a); err != nil {
						return err
					}
					*of = append(*of, a)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	var nodes sync.WaitGroup
	for node := range 2 {
		s, err := openEngine(t.Context(), c, quietly().Log, sqlstore.Opening{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		mine := [][]masking.Allocation{slices.Clone(common), own[node]}
		if node == 1 {
			slices.Reverse(mine[0])
			slices.Reverse(mine[1])
		}
		nodes.Go(func() {
			all := &counted{Store: s}
			j := callflow.NewJournal(callflow.JournalOptions{Store: all, Clock: storetest.Start, Log: quietly().Log, Node: "node-1"})
			for r := range rounds {
				for i, a := range mine[r%2] {
					call := storetest.Call(a, storetest.CallID((node*rounds+r)*numbers+i), a.From[0])
					j.Note(masking.Began, call, time.UTC)
					call.EndedAt, call.Cause = storetest.Start(), masking.CauseDeclined
					call.Attempts = []masking.Attempt{{Target: a.To[0], Trunk: "carrier-a", Status: 608}}
					j.Note(masking.Ended, call, time.UTC)
				}
			}
			if err := j.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if begun, runs := all.begun.Load(), all.runs.Load(); begun != runs {
				t.Errorf("node %d: %d transactions were run %d times", node, begun, runs)
			}
		})
	}
	nodes.Wait()
	with(t, c, func(s store.Store) {
		err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
			for _, a := range common {
				got, err := tx.Allocation(ctx, "acme", a.ID)
				if err != nil {
					return err
				}
				if got.Tally.Calls != rounds {
					t.Errorf("%s has %d calls", a.ID, got.Tally.Calls)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
