package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func auditTests() []test {
	return []test{
		{"AnAuditEntryIsReadAsItWasChained", auditChained},
		{"TheAuditLogIsListedByTenantActionAndTime", auditFiltered},
		{"AnAuditEntryGoesWithItsChange", auditRolledBack},
		{"EntriesWrittenAtOnceMakeOneChain", auditAtOnce},
		{"TheAuditLogOutlivesItsTenant", auditOutlives},
	}
}

// AuditEntry is an entry that is to be chained.
func AuditEntry(tenant masking.TenantID, action string, at time.Time) masking.AuditEntry {
	return masking.AuditEntry{At: at, Actor: "tok_1", Tenant: tenant, Action: action, Object: "o", Outcome: masking.OutcomeDone, Request: "req_1"}
}

func (b *bench) append(e masking.AuditEntry) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.AppendAudit(ctx, e) })
}

func (b *bench) audit(f store.AuditFilter) []masking.AuditEntry {
	b.Helper()
	if f.Limit == 0 {
		f.Limit = 1000
	}
	return get(b, func(ctx context.Context, tx store.Reader) ([]masking.AuditEntry, error) { return tx.Audit(ctx, f) })
}

func (b *bench) auditHead() masking.AuditHead {
	b.Helper()
	return get(b, func(ctx context.Context, tx store.Reader) (masking.AuditHead, error) { return tx.AuditHead(ctx) })
}

// unbroken checks the whole log.
func (b *bench) unbroken() {
	b.Helper()
	var c masking.AuditCheck
	for _, e := range b.audit(store.AuditFilter{Oldest: true}) {
		if err := c.Next(e); err != nil {
			b.Fatal(err)
		}
	}
	equal(b, c.Last(), b.auditHead())
}

func auditChained(b *bench) {
	equal(b, b.auditHead(), masking.AuditHead{})
	equal(b, len(b.audit(store.AuditFilter{})), 0)
	first := AuditEntry("acme", "a", Start().Add(300*time.Millisecond)).Following(masking.AuditHead{})
	second := AuditEntry("", "b", Start()).Following(first.Head())
	b.append(AuditEntry("acme", "a", Start().Add(300*time.Millisecond)))
	equal(b, b.auditHead(), first.Head())
	b.append(AuditEntry("", "b", Start()))
	equal(b, b.audit(store.AuditFilter{Oldest: true}), []masking.AuditEntry{first, second})
	equal(b, b.auditHead(), second.Head())
	b.unbroken()
}

func auditFiltered(b *bench) {
	start := Start().Truncate(time.Second)
	for i, e := range []masking.AuditEntry{AuditEntry("acme", "x", start), AuditEntry("other", "y", start.Add(time.Minute)),
		AuditEntry("acme", "y", start.Add(2*time.Minute)), AuditEntry("acme", "x", start.Add(3*time.Minute))} {
		e.Object = string(rune('1' + i))
		b.append(e)
	}
	for _, c := range []struct {
		f    store.AuditFilter
		want string
	}{
		{store.AuditFilter{}, "4321"},
		{store.AuditFilter{Oldest: true}, "1234"},
		{store.AuditFilter{Tenant: "acme"}, "431"},
		{store.AuditFilter{Tenant: "acme", Action: "x", Oldest: true}, "14"},
		{store.AuditFilter{Action: "y"}, "32"},
		{store.AuditFilter{Since: start.Add(time.Minute), Until: start.Add(3 * time.Minute)}, "32"},
		{store.AuditFilter{After: 3, Limit: 1}, "2"},
		{store.AuditFilter{After: 2, Limit: 1, Oldest: true}, "3"},
		{store.AuditFilter{After: 3, Tenant: "acme"}, "1"},
		{store.AuditFilter{Tenant: "nobody"}, ""},
	} {
		var got string
		for _, e := range b.audit(c.f) {
			got += e.Object
		}
		equal(b, got, c.want)
	}
}

func auditRolledBack(b *bench) {
	b.append(AuditEntry("acme", "kept", Start()))
	lost := errors.New("lost")
	err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.AppendAudit(ctx, AuditEntry("acme", "lost", Start())); err != nil {
			return err
		}
		return lost
	})
	equal(b, errors.Is(err, lost), true)
	b.append(AuditEntry("acme", "next", Start()))
	equal(b, b.auditHead().Sequence, 2)
	b.unbroken()
}

func auditAtOnce(b *bench) {
	const writers, each = 8, 10
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for range writers {
		wg.Go(func() {
			for range each {
				errs <- b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
					if err := tx.AppendAudit(ctx, AuditEntry("acme", "x", Start())); err != nil {
						return err
					}
					return tx.AppendAudit(ctx, AuditEntry("acme", "y", Start()))
				})
			}
		})
	}
	wg.Wait()
	for range writers * each {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	equal(b, b.auditHead().Sequence, 2*writers*each)
	b.unbroken()
}

func auditOutlives(b *bench) {
	b.tenant("acme")
	b.append(AuditEntry("acme", "x", Start()))
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "acme") })
	equal(b, len(b.audit(store.AuditFilter{Tenant: "acme"})), 1)
	b.unbroken()
}
