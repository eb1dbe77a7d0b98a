package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func transferTests() []test {
	return []test{
		{"FactsAreReadAsWrittenLast", facts},
		{"OfSeveralWhoTellAFactFirstAllGetTheSame", firstFact},
		{"TablesComeBehindThoseTheyReferTo", tablesInOrder},
		{"RowsAreReadPageByPageInTheOrderOfKeys", rowPages},
		{"RowsPutIntoAnEmptyTableAreTheSame", rowsMoved},
		{"TheNextEventComesAfterTheHead", eventHead},
		{"EventsThatWereJustWrittenAreReadInThePlacesThatTheyGet", eventsInPlace},
		{"AWholeDatabaseIsSound", wholeIsSound},
	}
}

// Fill gives a store something in each of its important tables: two tenants, numbers,
// allocations that live and that have ended, a call, events, entries of the audit log.
func Fill(t testing.TB, s store.Store, allocations int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for _, id := range []masking.TenantID{"acme", "other"} {
			if err := tx.InsertTenant(ctx, Tenant(t, id)); err != nil {
				return err
			}
			if err := tx.AppendAudit(ctx, masking.AuditEntry{At: Start(), Actor: masking.Operator, Tenant: id, Action: "admin-tenants-create", Outcome: masking.OutcomeDone}); err != nil {
				return err
			}
		}
		if err := tx.PutPrompt(ctx, Prompt("acme", "en", "enter-pin")); err != nil {
			return err
		}
		return tx.InsertNumber(ctx, Number("acme", Virtual(1), masking.Shared), Start())
	}))
	for i := range allocations {
		a := Allocation("acme", AllocationID(i+1), Virtual(1), People(2*i), People(2*i+1))
		must(Create(t.Context(), s, a, Start()))
		if i == 0 {
			must(s.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
				c := Call(a, CallID(1), Person(0))
				_, err := tx.BeginCall(ctx, c)
				return err
			}))
		}
		if i%5 == 4 {
			must(Delete(t.Context(), s, "acme", a.ID, Start()))
		}
	}
}

func (b *bench) table(name string) store.Table {
	b.Helper()
	tables := get(b, func(ctx context.Context, tx store.Reader) ([]store.Table, error) { return tx.Tables(ctx) })
	i := slices.IndexFunc(tables, func(t store.Table) bool { return t.Name == name })
	if i < 0 {
		b.Fatalf("no table %s", name)
	}
	return tables[i]
}

func facts(b *bench) {
	fact := func() string {
		return get(b, func(ctx context.Context, tx store.Reader) (string, error) { return tx.Fact(ctx, store.FactMasterKey) })
	}
	set := func(v string) {
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.SetFact(ctx, store.FactMasterKey, v) })
	}
	equal(b, fact(), "")
	set("one")
	set("two")
	equal(b, fact(), "two")
	set("")
	equal(b, fact(), "")
}

func firstFact(b *bench) {
	known := make([]string, 8)
	var wg sync.WaitGroup
	for i := range known {
		wg.Go(func() {
			err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
				known[i], err = tx.FirstFact(ctx, store.FactMasterKey, fmt.Sprint("key ", i))
				return err
			})
			if err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range known {
		if k != known[0] || k == "" {
			b.Errorf("known: %q", known)
		}
	}
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (string, error) { return tx.Fact(ctx, store.FactMasterKey) }), known[0])
}

func tablesInOrder(b *bench) {
	tables := get(b, func(ctx context.Context, tx store.Reader) ([]store.Table, error) { return tx.Tables(ctx) })
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
		if len(t.Columns) == 0 || len(t.Key) == 0 {
			b.Errorf("table %+v", t)
		}
	}
	for _, pair := range [][2]string{{"tenant", "token"}, {"tenant", "allocation"}, {"allocation", "claim"}, {"webhook", "delivery"}, {"tenant", "event"}} {
		if one, other := slices.Index(names, pair[0]), slices.Index(names, pair[1]); one < 0 || other < one {
			b.Errorf("%s is to come before %s: %v", pair[0], pair[1], names)
		}
	}
	if slices.Contains(names, "about") || slices.Contains(names, "event_head") {
		b.Errorf("tables of this database alone are among %v", names)
	}
	equal(b, b.table("claim").Key, []string{"virtual_number", "caller"})
	equal(b, b.table("event").Key, []string{"cursor"})
	if columns := b.table("event").Columns; slices.Contains(columns, "position") || !slices.Contains(columns, "reached") || !slices.IsSorted(columns) {
		b.Errorf("columns of events %v", columns)
	}
}

func rowPages(b *bench) {
	Fill(b, b, 7)
	t := b.table("claim") // two an allocation that lives
	var all, paged []store.Row
	b.view(func(ctx context.Context, tx store.Reader) (err error) {
		if all, err = tx.Rows(ctx, t, nil, 1000); err != nil {
			return err
		}
		for after := []any(nil); ; {
			page, err := tx.Rows(ctx, t, after, 5)
			if err != nil || len(page) == 0 {
				return err
			}
			paged = append(paged, page...)
			last := page[len(page)-1]
			after = []any{last[slices.Index(t.Columns, "virtual_number")], last[slices.Index(t.Columns, "caller")]}
		}
	})
	if len(all) != 12 {
		b.Errorf("%d claims", len(all))
	}
	equal(b, paged, all)
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.CountRows(ctx, t) }), 12)
}

func rowsMoved(b *bench) {
	Fill(b, b, 60) // more than a statement writes
	for _, name := range []string{"call", "party", "prompt", "claim", "event"} {
		t := b.table(name)
		var before, after []store.Row
		b.update(func(ctx context.Context, tx store.Tx) (err error) {
			before, err = tx.Rows(ctx, t, nil, 1000)
			return err
		})
		removed := 0
		for n := 1; n > 0; removed += n {
			b.update(func(ctx context.Context, tx store.Tx) (err error) {
				n, err = tx.RemoveRows(ctx, t, 50)
				return err
			})
		}
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.PutRows(ctx, t, before) })
		last := get(b, func(ctx context.Context, tx store.Reader) (key []any, err error) {
			if after, err = tx.Rows(ctx, t, nil, 1000); err != nil {
				return nil, err
			}
			return tx.LastKey(ctx, t)
		})
		equal(b, after, before)
		if removed != len(before) || removed == 0 || len(last) != len(t.Key) {
			b.Errorf("table %s: %d removed of %d; the last is %v", name, removed, len(before), last)
		}
	}
	equal(b, get(b, func(ctx context.Context, tx store.Reader) ([]any, error) { return tx.LastKey(ctx, b.table("pace")) }), nil)
}

func eventHead(b *bench) {
	head := func() int64 {
		return get(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.EventHead(ctx) })
	}
	equal(b, head(), 0)
	Fill(b, b, 3)
	equal(b, head(), 3)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.SetEventHead(ctx, 700) })
	b.created(Allocation("acme", AllocationID(9), Virtual(1), People(91), People(92)), Start())
	last := get(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.LastEvent(ctx) })
	equal(b, last, 701)
	equal(b, head(), 701)
}

// eventsInPlace looks at events that nobody has read yet: what a snapshot has of them
// when others write while it is taken.
func eventsInPlace(b *bench) {
	Fill(b, b, 3)
	events := b.table("event")                                     // read, so these have their places
	for i, at := range []time.Duration{-time.Hour, 0, time.Hour} { // the first is told late
		b.created(Allocation("acme", AllocationID(10+i), Virtual(1), People(90+2*i), People(91+2*i)), Start().Add(at))
	}
	var fresh, settled, paged []store.Row
	b.view(func(ctx context.Context, tx store.Reader) error {
		if _, err := tx.Fact(ctx, store.FactState); err != nil { // the snapshot is taken
			return err
		}
		if _, err := tx.Tables(ctx); err != nil {
			return err
		}
		head, err := tx.EventHead(ctx)
		if err != nil {
			return err
		}
		n, err := tx.CountRows(ctx, events)
		if err != nil {
			return err
		}
		equal(b, []int64{n, head}, []int64{6, 6})
		last, err := tx.LastKey(ctx, events)
		if err != nil {
			return err
		}
		equal(b, last, []any{int64(6)})
		if fresh, err = tx.Rows(ctx, events, nil, 100); err != nil {
			return err
		}
		for after := []any(nil); ; {
			page, err := tx.Rows(ctx, events, after, 2)
			if err != nil || len(page) == 0 {
				return err
			}
			paged = append(paged, page...)
			after = []any{page[len(page)-1][slices.Index(events.Columns, "cursor")]}
		}
	})
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (int64, error) { return tx.LastEvent(ctx) }), 6)
	b.view(func(ctx context.Context, tx store.Reader) (err error) {
		settled, err = tx.Rows(ctx, events, nil, 100)
		return err
	})
	equal(b, fresh, settled)
	equal(b, paged, settled)
}

func wholeIsSound(b *bench) {
	Fill(b, b, 3)
	b.view(func(ctx context.Context, tx store.Reader) error {
		if v, err := tx.SchemaVersion(ctx); err != nil || v < 23 {
			b.Errorf("schema version %d, %v", v, err)
		}
		return tx.Sound(ctx)
	})
}
