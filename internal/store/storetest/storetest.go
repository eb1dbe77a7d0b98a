// Package storetest proves an engine: what a store.Store must do, as tests that
// every engine runs. It holds the fixtures of those tests too.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Run runs the suite. open gives a new, empty store; it is called once for
// each test and closes what it opened when the test ends.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"Transactions", transactionTests()},
		{"Tenants", tenantTests()},
		{"Numbers", numberTests()},
		{"Choice", choiceTests()},
		{"Capacity", capacityTests()},
		{"Allocations", allocationTests()},
		{"Claims", claimTests()},
		{"Silent", silentTests()},
		{"PINs", pinTests()},
		{"PINLists", pinListTests()},
		{"Tries", tryTests()},
		{"Races", raceTests()},
		{"PINRaces", pinRaceTests()},
		{"Changes", changeTests()},
		{"Calls", callTests()},
		{"Matches", matchTests()},
		{"States", stateTests()},
		{"Events", eventTests()},
		{"Guards", guardTests()},
		{"Recordings", recordingTests()},
		{"Prompts", promptTests()},
		{"Webhooks", webhookTests()},
		{"Trunks", trunkTests()},
		{"Replays", replayTests()},
		{"Audit", auditTests()},
		{"Erasures", erasureTests()},
		{"Retention", retentionTests()},
		{"Nodes", nodeTests()},
		{"Shares", shareTests()},
		{"Rates", rateTests()},
		{"Transfers", transferTests()},
		{"Model", modelTests()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.tests {
				t.Run(c.name, func(t *testing.T) {
					c.run(&bench{T: t, Store: open(t)})
				})
			}
		})
	}
}

// test is one behaviour; its name says which.
type test struct {
	name string
	run  func(b *bench)
}

// bench is a test's store with the shortcuts that tests need. Its methods end
// the test on an error, so they are for the test's own goroutine.
type bench struct {
	*testing.T
	store.Store
}

// update runs fn in a transaction that must succeed.
func (b *bench) update(fn func(ctx context.Context, tx store.Tx) error) {
	b.Helper()
	if err := b.Update(b.Context(), fn); err != nil {
		b.Fatalf("update: %v", err)
	}
}

// view runs fn on a snapshot and must succeed.
func (b *bench) view(fn func(ctx context.Context, tx store.Reader) error) {
	b.Helper()
	if err := b.View(b.Context(), fn); err != nil {
		b.Fatalf("view: %v", err)
	}
}

// refused runs fn in a transaction that must be refused with the code.
func (b *bench) refused(code masking.Code, fn func(ctx context.Context, tx store.Tx) error) {
	b.Helper()
	b.code(code, b.Update(b.Context(), fn))
}

// code checks that err is a refusal with the code.
func (b *bench) code(code masking.Code, err error) {
	b.Helper()
	if err := hasCode(err, code); err != nil {
		b.Fatal(err)
	}
}

// equal compares what a store gave with what was put in.
func equal[T any](b *bench, got, want T) {
	b.Helper()
	if err := same(got, want); err != nil {
		b.Fatal(err)
	}
}

// same is equal for closures of Update, which an engine may run on a goroutine
// that a failing test must not end.
func same[T any](got, want T) error {
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("got  %+v\nwant %+v", got, want)
	}
	return nil
}

// hasCode is bench.code for closures of Update.
func hasCode(err error, code masking.Code) error {
	var e *masking.Error
	if !errors.As(err, &e) || e.Code != code {
		return fmt.Errorf("got %v, want a refusal with %s", err, code)
	}
	return nil
}

// get reads one thing, which must be there.
func get[T any](b *bench, read func(ctx context.Context, tx store.Reader) (T, error)) (v T) {
	b.Helper()
	b.view(func(ctx context.Context, tx store.Reader) (err error) {
		v, err = read(ctx, tx)
		return err
	})
	return v
}

// getErr reads one thing and gives the error.
func getErr[T any](b *bench, read func(ctx context.Context, tx store.Reader) (T, error)) error {
	b.Helper()
	return b.View(b.Context(), func(ctx context.Context, tx store.Reader) error {
		_, err := read(ctx, tx)
		return err
	})
}

// tenant puts a tenant in.
func (b *bench) tenant(id masking.TenantID) masking.Tenant {
	b.Helper()
	t := Tenant(b, id)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertTenant(ctx, t) })
	return t
}

// number puts the i-th virtual number into a tenant's pool.
func (b *bench) number(tenant masking.TenantID, i int, sharing masking.Sharing) masking.VirtualNumber {
	b.Helper()
	n := Number(tenant, Virtual(i), sharing)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, Start()) })
	return n
}

// acme puts in the tenant acme, the exclusive number 1 and the shared number 2.
func (b *bench) acme() masking.Tenant {
	b.Helper()
	return Acme(b, b)
}

// created creates an allocation, which must succeed.
func (b *bench) created(a masking.Allocation, now time.Time) masking.Allocation {
	b.Helper()
	if err := Create(b.Context(), b, a, now); err != nil {
		b.Fatalf("create: %v", err)
	}
	return a
}

// allocation reads an allocation of acme.
func (b *bench) allocation(id masking.AllocationID) masking.Allocation {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (masking.Allocation, error) {
		return tx.Allocation(ctx, "acme", id)
	})
}
