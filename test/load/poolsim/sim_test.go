package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
)

// short are loads that are played in a moment, with how many numbers more than no
// choice can do without the product may need.
func short() map[int]load {
	return map[int]load{
		0: {"couriers", 50, 800, 0.8, 0.3, 150, 2_000, 1},
		1: {"both sides have stars", 120, 120, 1, 1, 150, 2_000, 4},
		3: {"all alike", 60, 60, 0, 0, 200, 2_000, 2},
	}
}

func TestTheChoiceNeedsHardlyMoreNumbersThanAnyCould(t *testing.T) {
	for more, l := range short() {
		n, o := l.needed(leastLoaded)
		t.Logf("%s", l.line())
		if n > o.least()+more || n > o.enough() {
			t.Errorf("%s: %d numbers, where %d are the least and %d always enough", l.name, n, o.least(), o.enough())
		}
		if more <= 1 && float64(n) > 1.1*float64(o.least()) {
			t.Errorf("%s: %d numbers are more than 1.1 times %d", l.name, n, o.least())
		}
	}
}

func TestWithMostOfAnyAAndMostOfAnyBMinusOneNobodyIsRefused(t *testing.T) {
	for _, l := range short() {
		for seed := range uint64(5) {
			l.seed = seed
			o := l.run(newShared(l.arrivals, leastLoaded))
			for name, order := range map[string]policy{"least loaded": leastLoaded, "first fit": firstFit, "most loaded": mostLoaded} {
				if got := l.run(newShared(o.enough(), order)); got.refused > 0 {
					t.Errorf("%s, %s, seed %d: %d refused with %d numbers", l.name, name, seed, got.refused, o.enough())
				}
			}
			if got := l.run(newShared(o.least()-1, leastLoaded)); got.refused == 0 {
				t.Errorf("%s, seed %d: nobody refused with less than the least", l.name, seed)
			}
		}
	}
}

// product is the pool of the product itself: the use cases on the real store.
type product struct {
	t     *testing.T
	plane *control.Plane
	store *sqlite.Store
	owner masking.Tenant
	now   time.Time
	held  map[[2]int]masking.AllocationID
}

type noSecrets struct{}

func (noSecrets) Seal(string, string) []byte { return nil }

func newProduct(t *testing.T, numbers int) *product {
	p := &product{t: t, now: time.Date(2024, 6, 15, 10, 0, 0, 0, time.UTC), held: map[[2]int]masking.AllocationID{}}
	p.owner = masking.Tenant{ID: "acme", AccountSID: "ac_acme", Name: "Acme", Settings: masking.DefaultSettings(time.UTC), CreatedAt: p.now}
	var err error
	if p.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "pool.db"), Synchronous: sqlite.Normal}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.store.Close() })
	p.plane, err = control.New(control.Options{TrunkSecrets: noSecrets{}, WebhookSecrets: noSecrets{}, Store: p.store, Clock: func() time.Time { return p.now },
		Random: rand.Reader, Log: slog.New(slog.DiscardHandler), TokenKey: bytes.Repeat([]byte{1}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	err = p.store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, p.owner); err != nil {
			return err
		}
		for i := range numbers {
			n := masking.VirtualNumber{Number: phone(1, i), Tenant: "acme", Sharing: masking.Shared, CreatedAt: p.now}
			if err := tx.InsertNumber(ctx, n, p.now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// phone is the i-th number of a kind.
func phone(kind, i int) e164.Number { return e164.MustParse(fmt.Sprintf("+9140%d%07d", kind, i)) }

func (p *product) take(n pair) (index int, ok bool) {
	p.now = p.now.Add(time.Second)
	var made masking.Allocation
	want := control.NewAllocation{Draft: masking.Draft{From: []e164.Number{phone(2, n.a)}, To: []e164.Number{phone(3, n.b)}, Duration: 90 * 24 * time.Hour}}
	_, err := p.plane.Allocations.Create(p.t.Context(), p.owner, want, control.Once[control.Snapshot]{
		Render: func(s control.Snapshot) control.Answer { made = s.Allocation; return control.Answer{} }})
	if masking.KindOf(err) == masking.Exhausted {
		return 0, false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.held[[2]int{n.a, n.b}] = made.ID
	for index = 0; phone(1, index) != made.VirtualNumber; index++ {
	}
	return index, true
}

func (p *product) leave(n pair) {
	p.now = p.now.Add(time.Second)
	_, err := p.plane.Allocations.Delete(p.t.Context(), p.owner, p.held[[2]int{n.a, n.b}], false, control.Once[control.Snapshot]{
		Render: func(control.Snapshot) control.Answer { return control.Answer{} }})
	if err != nil {
		p.t.Fatal(err)
	}
}

// What the table says of the model holds of the product: both give each pair the
// same number, and refuse the same ones.
func TestTheProductChoosesAsTheModelDoes(t *testing.T) {
	for _, l := range short() {
		l.arrivals = 400
		o := l.run(newShared(l.arrivals, leastLoaded))
		numbers := o.least() - 1 // too few, so that some are refused
		want := l.run(newShared(numbers, leastLoaded))
		got := l.run(newProduct(t, numbers))
		if want.refused == 0 || got.refused != want.refused || !slices.Equal(got.numbers, want.numbers) {
			t.Errorf("%s: the product refused %d, the model %d", l.name, got.refused, want.refused)
		}
	}
}
