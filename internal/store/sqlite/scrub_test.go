package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
)

// crowd is a database in which many persons come and go: rows are made, changed to
// another length and removed in random order, so that pages split, merge and are
// written anew.
func crowd(t *testing.T, s *Store, person e164.Number) (until time.Time) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	update := func(fn func(ctx context.Context, tx store.Tx) error) {
		t.Helper()
		if err := s.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, storetest.Tenant(t, "acme")); err != nil {
			return err
		}
		return tx.InsertNumber(ctx, storetest.Number("acme", storetest.Virtual(1), masking.Shared), storetest.Start())
	})
	start := storetest.Start()
	for i := range 400 {
		a := storetest.Allocation("acme", storetest.AllocationID(i+1), storetest.Virtual(1), []e164.Number{storetest.Person(1000 + i)}, storetest.People(5000+i))
		if random.IntN(3) > 0 {
			a.To = append(a.To, person)
			a.CustomField = fmt.Sprintf("%*s %s", random.IntN(200), "", person.E164())
		}
		c := masking.Call{ID: storetest.CallID(i + 1), Tenant: "acme", Allocation: a.ID, VirtualNumber: a.VirtualNumber, Caller: a.From[0], Callee: a.To[len(a.To)-1],
			Direction: masking.FromCalls, CustomField: a.CustomField, Node: "n", StartedAt: start}
		update(func(ctx context.Context, tx store.Tx) error {
			if err := tx.InsertAllocation(ctx, a); err != nil {
				return err
			}
			if _, err := tx.BeginCall(ctx, c); err != nil {
				return err
			}
			c.Attempts = []masking.Attempt{{Target: c.Callee, Trunk: "t"}}
			c.EndedAt, c.Ladder = start.Add(time.Second), bytes.Repeat([]byte{7}, random.IntN(6000))
			if _, err := tx.EndCall(ctx, c); err != nil {
				return err
			}
			return tx.AppendEvent(ctx, masking.AllocationEvent(storetest.EventID(i+1), masking.EventCreated, a, time.UTC, "", start))
		})
	}
	for _, i := range random.Perm(400) { // another length, and the end of each
		update(func(ctx context.Context, tx store.Tx) error {
			a, err := tx.Allocation(ctx, "acme", storetest.AllocationID(i+1))
			if err != nil {
				return err
			}
			if random.IntN(2) == 0 {
				a.CustomField = ""
			}
			if random.IntN(4) == 0 {
				a.To = a.To[:1] // the person, if he is in it, goes before he is erased
			}
			a.EndedAt, a.EndReason = start.Add(time.Minute), masking.EndedByAPI
			return tx.UpdateAllocation(ctx, a)
		})
	}
	return start.Add(time.Hour)
}

func TestAnErasedNumberIsInNoByteOfTheFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := openTemp(t, Options{Path: path, Synchronous: Normal})
	person := e164.MustParse("+919955512345")
	until := crowd(t, s, person)
	if inFiles(t, path, person) == 0 {
		t.Fatal("the test writes no such number")
	}
	for _, part := range []masking.ErasurePart{masking.EraseAllocations, masking.EraseCalls, masking.EraseEvents} {
		traces := store.Traces{Tenant: "acme", Number: person, Part: part, Until: until, Scan: 37}
		for {
			var keys []string
			var next string
			err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) (err error) {
				keys, next, err = tx.FindTraces(ctx, traces)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
				_, waiting, err := tx.EraseTraces(ctx, traces, keys, until)
				if waiting > 0 {
					t.Errorf("%d rows of %s wait", waiting, part)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if traces.After = next; next == "" {
				break
			}
		}
	}
	if err := s.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := inFiles(t, path, person); n != 0 {
		t.Errorf("it is still there %d times", n)
	}
}

// inFiles counts the number in the database and the files beside it.
func inFiles(t *testing.T, path string, n e164.Number) (count int) {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		count += bytes.Count(raw, []byte(n.Digits()))
	}
	return count
}

func TestScrubEmptiesTheLogAndWaitsForReadersForAMomentOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tandem.db")
	s := openTemp(t, Options{Path: path})
	put := func(id masking.TenantID) {
		t.Helper()
		err := s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.InsertTenant(ctx, storetest.Tenant(t, id)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	put("a")
	err := s.View(t.Context(), func(ctx context.Context, tx store.Reader) error {
		if _, err := tx.Tenants(ctx); err != nil {
			return err
		}
		put("b")
		if err := s.Scrub(ctx); !errors.Is(err, errRead) || size() == 0 {
			t.Errorf("under a reader: %v, %d bytes", err, size())
		}
		put("c") // the writer goes on
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Scrub(t.Context()); err != nil || size() != 0 {
		t.Errorf("%v, %d bytes", err, size())
	}
	put("d")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Scrub(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
