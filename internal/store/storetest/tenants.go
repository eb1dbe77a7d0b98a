package storetest

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func tenantTests() []test {
	return []test{
		{"ATenantIsReadAsWritten", tenantRoundTrip},
		{"ATakenTenantIDOrAccountSIDIsRefused", tenantTaken},
		{"AnUpdateOfATenantWritesAllButTheCreation", tenantUpdate},
		{"AZoneWithoutAnIANANameIsRefused", tenantZone},
		{"TokensBelongToTheirTenant", tokens},
		{"ATenantWithNumbersCannotBeDeleted", tenantInUse},
		{"ADeletedTenantTakesEverythingOfHisAlong", tenantDeleted},
	}
}

func tenantRoundTrip(b *bench) {
	zeta, acme := b.tenant("zeta"), b.tenant("acme")
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (masking.Tenant, error) { return tx.Tenant(ctx, "acme") }), acme)
	equal(b, get(b, func(ctx context.Context, tx store.Reader) ([]masking.Tenant, error) { return tx.Tenants(ctx) }),
		[]masking.Tenant{acme, zeta})
	b.view(func(ctx context.Context, tx store.Reader) error {
		t, tokens, err := tx.TenantBySID(ctx, zeta.AccountSID)
		equal(b, t, zeta)
		equal(b, len(tokens), 0)
		return err
	})
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Tenant, error) { return tx.Tenant(ctx, "nobody") }))
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Tenant, error) {
		t, _, err := tx.TenantBySID(ctx, "ac_nobody")
		return t, err
	}))
}

func tenantTaken(b *bench) {
	b.tenant("acme")
	other := Tenant(b, "other")
	other.AccountSID = "ac_acme"
	for _, t := range []masking.Tenant{Tenant(b, "acme"), other} {
		b.refused(masking.CodeAlreadyExists, func(ctx context.Context, tx store.Tx) error { return tx.InsertTenant(ctx, t) })
	}
	b.tenant("other")
	b.refused(masking.CodeAlreadyExists, func(ctx context.Context, tx store.Tx) error { return tx.UpdateTenant(ctx, other) })
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.UpdateTenant(ctx, Tenant(b, "nobody")) })
}

func tenantUpdate(b *bench) {
	t := b.tenant("acme")
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		b.Fatal(err)
	}
	t.Name, t.AccountSID = "Acme & Søns", "ac_new"
	t.Settings = masking.Settings{Zone: london, RateLimit: masking.RateLimit{PerSecond: 7, Burst: 9}, MaxDuration: time.Hour,
		RingEach: 5500 * time.Millisecond, RingTotal: time.Minute, Country: "GB", Language: "hi", PINLength: 8, PINFallback: true,
		Strangers:       masking.StrangerPolicy{Action: masking.AskWebhook, Forward: Person(1), URL: "https://acme.example/calls?a=1"},
		RecordingNotice: true, RecordingRetention: 90 * 24 * time.Hour,
		Ring: masking.StickyLast, MaxCalls: 500, MaxAllocationCalls: 2, MaxCallerRate: 6, MaxCall: 90 * time.Minute, EndWithAllocation: true, Retention: 200 * 24 * time.Hour,
		Guards: masking.Guards{Permitted: masking.Prefixes{"+44", "+91"}, Allowed: masking.Prefixes{"+4420"}, DayCalls: 30, DayTalk: 40 * time.Minute,
			Velocity: masking.Velocity{Window: 5 * time.Minute, Caller: 6, Allocation: 7, Tenant: 8, Block: true}}}
	b.update(func(ctx context.Context, tx store.Tx) error {
		changed := t
		changed.CreatedAt = Start().Add(time.Hour)
		return tx.UpdateTenant(ctx, changed)
	})
	equal(b, get(b, func(ctx context.Context, tx store.Reader) (masking.Tenant, error) { return tx.Tenant(ctx, "acme") }), t)
}

func tenantZone(b *bench) {
	for name, zone := range map[string]*time.Location{"none": nil, "fixed": time.FixedZone("house time", 1234), "local": time.Local} {
		t := Tenant(b, "acme")
		t.Settings.Zone = zone
		if err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.InsertTenant(ctx, t) }); err == nil {
			b.Errorf("%s was accepted", name)
		}
	}
}

func tokens(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	first, second := Token("acme", "tok_1"), Token("acme", "tok_2")
	second.CreatedAt = Start().Add(time.Second)
	insert := func(t masking.Token) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.InsertToken(ctx, t) }
	}
	b.update(insert(second))
	b.update(insert(first))
	b.refused(masking.CodeAlreadyExists, insert(Token("other", "tok_1")))
	b.refused(masking.CodeNotFound, insert(Token("nobody", "tok_3")))
	read := func(id masking.TenantID) []masking.Token {
		return get(b, func(ctx context.Context, tx store.Reader) ([]masking.Token, error) { return tx.Tokens(ctx, id) })
	}
	equal(b, read("acme"), []masking.Token{first, second})
	equal(b, len(read("other")), 0)
	b.view(func(ctx context.Context, tx store.Reader) error {
		_, found, err := tx.TenantBySID(ctx, "ac_acme")
		equal(b, found, []masking.Token{first, second})
		return err
	})
	remove := func(tenant masking.TenantID, id masking.TokenID) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.DeleteToken(ctx, tenant, id) }
	}
	b.refused(masking.CodeNotFound, remove("other", "tok_1"))
	b.update(remove("acme", "tok_1"))
	b.refused(masking.CodeNotFound, remove("acme", "tok_1"))
	equal(b, read("acme"), []masking.Token{second})
}

func tenantInUse(b *bench) {
	b.acme()
	remove := func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "acme") }
	b.refused(masking.CodeStillInUse, remove)
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "nobody") })
	held := masking.Recording{Call: CallID(1), Tenant: "acme", VirtualNumber: Virtual(1), Status: masking.RecordingStored, StartedAt: Start(), Held: true}
	b.update(func(ctx context.Context, tx store.Tx) error {
		for _, i := range []int{1, 2} {
			if err := tx.DeleteNumber(ctx, "acme", Virtual(i), Start()); err != nil {
				return err
			}
		}
		return tx.BeginRecording(ctx, held)
	})
	b.refused(masking.CodeStillInUse, remove)
	held.Held = false
	b.update(func(ctx context.Context, tx store.Tx) error {
		if err := tx.UpdateRecording(ctx, held); err != nil {
			return err
		}
		return tx.DeleteTenant(ctx, "acme")
	})
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Tenant, error) { return tx.Tenant(ctx, "acme") }))
}

func tenantDeleted(b *bench) {
	b.acme()
	b.tenant("other")
	b.number("other", 3, masking.Exclusive)
	kept := b.created(Allocation("other", AllocationID(9), Virtual(3), People(1), People(2)), Start())
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	later := a.ExpiresAt // nobody has swept it: its claims are still there
	b.update(func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.BeginCall(ctx, Call(a, CallID(1), Person(1))); err != nil {
			return err
		}
		if err := tx.InsertToken(ctx, Token("acme", "tok_1")); err != nil {
			return err
		}
		return tx.KeepReplay(ctx, store.Replay{Tenant: "acme", Key: "k", Status: 201, Body: []byte("{}"), CreatedAt: Start()})
	})
	b.update(func(ctx context.Context, tx store.Tx) error {
		for _, i := range []int{1, 2} {
			if err := tx.DeleteNumber(ctx, "acme", Virtual(i), later); err != nil {
				return err
			}
		}
		return tx.DeleteTenant(ctx, "acme")
	})
	b.acme() // the same names again find nothing of the old
	b.nothingOf(a.ID)
	b.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Replay(ctx, "acme", "k", time.Time{})
		return hasCode(err, masking.CodeNotFound)
	})
	b.view(func(ctx context.Context, tx store.Reader) error {
		calls, err := tx.Calls(ctx, store.CallFilter{Tenant: "acme"})
		equal(b, len(calls), 0)
		return err
	})
	equal(b, len(get(b, func(ctx context.Context, tx store.Reader) ([]masking.Token, error) { return tx.Tokens(ctx, "acme") })), 0)
	b.routes(Virtual(3), Person(1), &kept, Start())
}
