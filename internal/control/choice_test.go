package control_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
)

// anywhere is a request that leaves the number to the pool.
func anywhere(from, to int) control.NewAllocation {
	want := on(0, storetest.People(from), storetest.People(to))
	want.VirtualNumber = e164.Number{}
	return want
}

// auto creates on a number of the pool's choice.
func (b *bench) auto(want control.NewAllocation, key string) (masking.Allocation, control.Answer, error) {
	var made masking.Allocation
	o := once[control.Snapshot](key, 1)
	render := o.Render
	o.Render = func(s control.Snapshot) control.Answer { made = s.Allocation; return render(s) }
	answer, err := b.Allocations.Create(context.Background(), b.tenant, want, o)
	return made, answer, err
}

// exclusive gives the tenant exclusive numbers only: n of them, from index first on.
func (b *bench) exclusive(first, n int) {
	b.Helper()
	err := b.disturbed.Store.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
		for i := range 4 {
			if err := tx.DeleteNumber(ctx, b.tenant.ID, storetest.Virtual(b.first+i), b.clock()); err != nil {
				return err
			}
		}
		for i := range n {
			if err := tx.InsertNumber(ctx, storetest.Number(b.tenant.ID, storetest.Virtual(first+i), masking.Exclusive), b.clock()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// asking counts what a transaction asks the pool.
type asking struct {
	store.Tx
	times *atomic.Int64
}

func (a asking) Usable(ctx context.Context, t masking.TenantID, p masking.Pick, parties []e164.Number, now time.Time, limit int) ([]masking.VirtualNumber, error) {
	a.times.Add(1)
	return a.Tx.Usable(ctx, t, p, parties, now, limit)
}

func (a asking) EarliestRelease(ctx context.Context, t masking.TenantID, parties []e164.Number, now time.Time) (time.Time, error) {
	a.times.Add(1)
	return a.Tx.EarliestRelease(ctx, t, parties, now)
}

// counted counts what the writer is asked about the pool; before runs first.
func (b *bench) counted(before func()) *atomic.Int64 {
	var times atomic.Int64
	b.disturbed.update = func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error {
		if before != nil {
			b.disturbed.update = nil
			before()
		}
		return real.Update(ctx, func(ctx context.Context, tx store.Tx) error { return fn(ctx, asking{tx, &times}) })
	}
	return &times
}

func TestAnExhaustedPoolIsNotLookedThroughByTheWriter(t *testing.T) {
	b := newBench(t)
	b.exclusive(10, 3)
	for i := range 3 {
		want := anywhere(2*i, 2*i+1)
		want.Duration = time.Duration(3-i) * time.Hour
		if _, _, err := b.auto(want, ""); err != nil {
			t.Fatal(err)
		}
	}
	times := b.counted(nil)
	_, _, err := b.auto(anywhere(90, 91), "")
	refused, _ := err.(*masking.Error)
	if refused == nil || refused.Code != masking.CodeNoNumberAvailable || !refused.RetryAfter.Equal(b.clock().Add(time.Hour)) {
		t.Errorf("refused with %+v", refused)
	}
	b.pass(time.Hour) // the third is over, and nobody has swept it
	if a, _, err := b.auto(anywhere(90, 91), ""); err != nil || a.VirtualNumber != storetest.Virtual(12) {
		t.Errorf("an hour later: %v, %+v", err, a)
	}
	if n := times.Load(); n != 0 {
		t.Errorf("the writer asked the pool %d times", n)
	}
}

func TestAChoiceWhoseNumbersAreTakenMeanwhileIsMadeOnceMore(t *testing.T) {
	b := newBench(t)
	b.exclusive(10, 12)
	take := func(from, to int) func() {
		return func() {
			for i := from; i < to; i++ {
				b.create(i, storetest.People(2*i), storetest.People(2*i+1))
			}
		}
	}
	times := b.counted(take(10, 18)) // all that a look gives
	if a, _, err := b.auto(anywhere(1, 2), ""); err != nil || a.VirtualNumber != storetest.Virtual(18) {
		t.Errorf("gave %v, %+v", err, a)
	}
	if times.Load() == 0 {
		t.Error("the numbers of the first look were not taken: this test sees nothing")
	}
	b.counted(take(19, 22)) // the last ones
	_, _, err := b.auto(anywhere(3, 4), "")
	if refused, _ := err.(*masking.Error); refused == nil || refused.Code != masking.CodeNoNumberAvailable || refused.RetryAfter.IsZero() {
		t.Errorf("with nothing left: %v", err)
	}
	b.disturbed.update = nil
	if a, e := b.count(); a != 12 || e != 12 {
		t.Errorf("%d allocations and %d events, want 12 each", a, e)
	}
}

func TestAsManyChoicesAtOnceAsThereAreNumbersAllFindOne(t *testing.T) {
	b := newBench(t)
	const n = 40
	b.exclusive(10, n)
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { _, _, errs[i] = b.auto(anywhere(2*i, 2*i+1), "") })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if _, _, err := b.auto(anywhere(900, 901), ""); masking.KindOf(err) != masking.Exhausted {
		t.Errorf("one more: %v", err)
	}
}

func TestARepeatedChoiceIsAnsweredAsTheFirstWhenNothingIsLeft(t *testing.T) {
	b := newBench(t)
	b.exclusive(10, 1)
	_, first, err := b.auto(anywhere(1, 2), "k")
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := b.auto(anywhere(1, 2), "k")
	if err != nil || !bytes.Equal(first.Body, again.Body) || len(first.Body) == 0 {
		t.Errorf("the repeat: %v, %s; the first %s", err, again.Body, first.Body)
	}
}

func TestAChoiceIsANumberThatNeitherSideMeetsElsewhere(t *testing.T) {
	b := newBench(t) // 0 and 1 are exclusive, 2 and 3 shared
	oneway := func(want control.NewAllocation) control.NewAllocation {
		want.Usage = masking.OneWay
		return want
	}
	// 9 stands silent, and 8 as a caller; each must be given another number.
	for i, want := range []control.NewAllocation{oneway(anywhere(1, 9)), oneway(anywhere(2, 9)), oneway(anywhere(8, 9)), oneway(anywhere(3, 9))} {
		a, _, err := b.auto(want, "")
		if err != nil || a.VirtualNumber != storetest.Virtual([]int{2, 3, 0, 1}[i]) {
			t.Errorf("choice %d: %v, %+v", i, err, a)
		}
	}
	if _, _, err := b.auto(oneway(anywhere(4, 9)), ""); masking.KindOf(err) != masking.Exhausted {
		t.Errorf("9 is met on every number: %v", err)
	}
}

func TestNobodyWhoStandsTwiceOnANumberMayCallInOne(t *testing.T) {
	b := newBench(t)
	const alice, bob, carol, dave = 1, 2, 3, 4
	ctx, o := t.Context(), once[control.Snapshot]("", 0)
	create := func(i, from, to int, usage masking.Usage) (id masking.AllocationID, err error) {
		want := on(i, storetest.People(from), storetest.People(to))
		want.Usage = usage
		made := o
		made.Render = func(s control.Snapshot) control.Answer { id = s.ID; return control.Answer{} }
		_, err = b.Allocations.Create(ctx, b.tenant, want, made)
		return id, err
	}
	must := func(id masking.AllocationID, err error) masking.AllocationID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	refused := func(what string, err error) {
		t.Helper()
		if e, _ := err.(*masking.Error); e == nil || e.Code != masking.CodePartyInUse {
			t.Errorf("%s: %v", what, err)
		}
	}
	quiet := must(create(2, alice, bob, masking.OneWay))
	_, err := create(2, carol, bob, masking.TwoWay)
	refused("the caller second", err)
	must(create(2, dave, bob, masking.OneWay)) // bob may call in neither
	loud := must(create(3, carol, bob, masking.TwoWay))
	_, err = create(3, alice, bob, masking.OneWay)
	refused("the silent one second", err)
	_, err = b.Allocations.UpdateNumber(ctx, b.tenant, loud, storetest.Virtual(2), o)
	refused("the caller moves", err)
	_, err = b.Allocations.UpdateNumber(ctx, b.tenant, quiet, storetest.Virtual(3), o)
	refused("the silent one moves", err)
	other := must(create(2, 5, 6, masking.TwoWay))
	_, err = b.Allocations.UpdateParties(ctx, b.tenant, other, nil, storetest.People(bob), o)
	refused("the caller comes in", err)
	_, err = b.Allocations.UpdateParties(ctx, b.tenant, quiet, nil, storetest.People(6), o)
	refused("a caller becomes a silent one", err)
	if a, _ := b.count(); a != 4 {
		t.Error(fmt.Sprint(a, " allocations are there, want 4"))
	}
}

func TestALongerLifeIsRefusedWhenAnotherAllocationHasTheParty(t *testing.T) {
	b := newBench(t)
	quiet := on(2, storetest.People(1), storetest.People(2))
	quiet.Usage = masking.OneWay
	a, _, err := b.auto(quiet, "")
	if err != nil {
		t.Fatal(err)
	}
	b.pass(time.Hour)
	b.create(2, storetest.People(3), storetest.People(2))
	b.pass(-time.Millisecond) // another node's clock
	d := time.Hour
	_, err = b.Allocations.Patch(t.Context(), b.tenant, a.ID, masking.Patch{Duration: &d}, once[control.Snapshot]("", 0))
	if e, _ := err.(*masking.Error); e == nil || e.Code != masking.CodePartyInUse {
		t.Errorf("got %v", err)
	}
}
