package storetest

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func transactionTests() []test {
	return []test{
		{"AViewIsOneSnapshotWhateverIsCommittedMeanwhile", viewIsSnapshot},
		{"AnUpdateSeesItsOwnWrites", updateSeesItself},
		{"AnUpdateWithAnErrorLeavesNothing", updateRollsBack},
		{"ARefusalInsideAnUpdateDoesNotEndIt", refusalKeepsUpdate},
		{"APanicInAnUpdateLeavesNothing", updatePanics},
		{"ACancelledContextRunsNothing", cancelledContext},
		{"ConcurrentUpdatesLoseNothing", concurrentUpdates},
		{"AClosedStoreRefusesInPlainErrors", closedStore},
		{"CloseWaitsForTheRunningView", closeWaits},
		{"AnOpenStoreIsReady", openIsReady},
	}
}

var errTest = errors.New("the test's own error")

func viewIsSnapshot(b *bench) {
	b.acme()
	b.view(func(ctx context.Context, tx store.Reader) error {
		before, err := tx.Numbers(ctx, "acme", "", 0)
		if err != nil {
			return err
		}
		b.number("acme", 3, masking.Shared) // another transaction, committed now
		b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
		after, err := tx.Numbers(ctx, "acme", "", 0)
		if err != nil {
			return err
		}
		equal(b, after, before)
		r, err := tx.Route(ctx, Virtual(1), Person(1))
		if err != nil {
			return err
		}
		equal(b, len(r.Found), 0)
		return nil
	})
	equal(b, len(get(b, func(ctx context.Context, tx store.Reader) ([]masking.VirtualNumber, error) {
		return tx.Numbers(ctx, "acme", "", 0)
	})), 3)
}

func updateSeesItself(b *bench) {
	b.acme()
	b.update(func(ctx context.Context, tx store.Tx) error {
		a := Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2))
		if err := create(ctx, tx, a, Start()); err != nil {
			return err
		}
		got, err := tx.Allocation(ctx, "acme", a.ID)
		if err != nil {
			return err
		}
		if err := same(got, a); err != nil {
			return err
		}
		r, err := tx.Route(ctx, Virtual(1), Person(2))
		if err != nil {
			return err
		}
		return same(r.Found, []masking.Allocation{a})
	})
}

func updateRollsBack(b *bench) {
	b.acme()
	err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := create(ctx, tx, Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start()); err != nil {
			return err
		}
		if err := tx.InsertTrunk(ctx, trunk("carrier")); err != nil {
			return err
		}
		return errTest
	})
	if !errors.Is(err, errTest) {
		b.Fatalf("got %v, want the closure's own error", err)
	}
	b.nothingOf(AllocationID(1))
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Trunk, error) {
		return tx.Trunk(ctx, "carrier")
	}))
}

// nothingOf checks that no trace of an allocation of people 1 and 2 on number 1 is left.
func (b *bench) nothingOf(id masking.AllocationID) {
	b.Helper()
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Allocation, error) {
		return tx.Allocation(ctx, "acme", id)
	}))
	b.view(func(ctx context.Context, tx store.Reader) error {
		for _, caller := range People(1, 2) {
			r, err := tx.Route(ctx, Virtual(1), caller)
			if err != nil {
				return err
			}
			equal(b, len(r.Found), 0)
			found, err := tx.Allocations(ctx, store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN, Party: caller})
			if err != nil {
				return err
			}
			equal(b, len(found), 0)
		}
		n, err := tx.Number(ctx, "acme", Virtual(1))
		if err != nil {
			return err
		}
		equal(b, n, Number("acme", Virtual(1), masking.Exclusive))
		events, err := tx.Events(ctx, store.EventFilter{Tenant: "acme"})
		if err != nil {
			return err
		}
		equal(b, len(events), 0)
		return nil
	})
}

func refusalKeepsUpdate(b *bench) {
	taken := b.acme()
	first := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	second := Allocation("acme", AllocationID(2), Virtual(1), People(3), People(4))
	b.update(func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertAllocation(ctx, second); err != nil {
			return err
		}
		err := tx.Hold(ctx, second, masking.Exclusive, Start())
		if err := hasCode(err, masking.CodeVirtualNumberInUse); err != nil {
			return err
		}
		if err := hasCode(tx.InsertTenant(ctx, taken), masking.CodeAlreadyExists); err != nil {
			return err
		}
		second.VirtualNumber = Virtual(2) // the next candidate of an automatic choice
		if err := tx.UpdateAllocation(ctx, second); err != nil {
			return err
		}
		return tx.Hold(ctx, second, masking.Shared, Start())
	})
	b.routes(Virtual(1), Person(3), nil, Start())
	b.routes(Virtual(1), Person(1), &first, Start())
	b.routes(Virtual(2), Person(3), &second, Start())
}

func updatePanics(b *bench) {
	b.acme()
	err := func() (err error) {
		// An engine may make an error of it or let it pass to the caller.
		defer func() {
			if p := recover(); p != nil {
				err = errTest
			}
		}()
		return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
			if err := create(ctx, tx, Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start()); err != nil {
				return err
			}
			panic("the test's own panic")
		})
	}()
	if err == nil || masking.KindOf(err) != "" {
		b.Fatalf("got %v, want a plain error or a panic", err)
	}
	b.nothingOf(AllocationID(1))
	b.created(Allocation("acme", AllocationID(2), Virtual(1), People(1), People(2)), Start())
}

func cancelledContext(b *bench) {
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	ran := false
	err := b.Update(ctx, func(context.Context, store.Tx) error { ran = true; return nil })
	if !errors.Is(err, context.Canceled) || ran {
		b.Fatalf("Update: %v, ran %v", err, ran)
	}
	err = b.View(ctx, func(ctx context.Context, tx store.Reader) error {
		_, err := tx.Tenants(ctx)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		b.Fatalf("View: %v", err)
	}
	if _, err := b.Route(ctx, Virtual(1), Person(1)); !errors.Is(err, context.Canceled) {
		b.Fatalf("Route: %v", err)
	}
}

func concurrentUpdates(b *bench) {
	b.acme()
	const writers, each = 16, 10
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
					return tx.NoteUse(ctx, Virtual(1), 1, Start())
				})
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	equal(b, failed.Load(), 0)
	n := get(b, func(ctx context.Context, tx store.Reader) (masking.VirtualNumber, error) {
		return tx.Number(ctx, "acme", Virtual(1))
	})
	equal(b, n.Load, writers*each)
}

func closedStore(b *bench) {
	if err := b.Close(); err != nil {
		b.Fatal(err)
	}
	plain := func(what string, err error) {
		b.Helper()
		if err == nil || masking.KindOf(err) != "" {
			b.Errorf("%s on a closed store: %v", what, err)
		}
	}
	plain("Update", b.Update(b.Context(), func(context.Context, store.Tx) error { return nil }))
	plain("View", b.View(b.Context(), func(context.Context, store.Reader) error { return nil }))
	_, err := b.Route(b.Context(), Virtual(1), Person(1))
	plain("Route", err)
	plain("Ready", b.Ready(b.Context()))
	if err := b.Close(); err != nil {
		b.Errorf("a second Close: %v", err)
	}
}

func closeWaits(b *bench) {
	b.acme()
	reading, goOn, closed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	read := make(chan error, 1)
	go func() {
		read <- b.View(b.Context(), func(ctx context.Context, tx store.Reader) error {
			close(reading)
			<-goOn
			_, err := tx.Tenant(ctx, "acme")
			return err
		})
	}()
	<-reading
	go func() { closed <- b.Close() }()
	for b.View(b.Context(), func(context.Context, store.Reader) error { return nil }) == nil {
		runtime.Gosched() // until Close has begun
	}
	select {
	case err := <-closed:
		b.Errorf("Close did not wait for the View: %v", err)
	default:
	}
	close(goOn)
	if err := <-read; err != nil {
		b.Errorf("the running View: %v", err)
	}
	if err := <-closed; err != nil {
		b.Errorf("Close: %v", err)
	}
}

func openIsReady(b *bench) {
	if err := b.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
}
