package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func trunkTests() []test {
	return []test{
		{"ATrunkIsReadAsWritten", trunkRoundTrip},
		{"ATakenTrunkNameIsRefused", trunkTaken},
		{"TrunksAreListedByName", trunkList},
	}
}

func trunk(name string) masking.Trunk {
	return masking.Trunk{Name: name,
		Sources:   []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::7/128")},
		Targets:   []masking.Target{{Host: "192.0.2.1", Port: 5060}, {Host: "2001:db8::7", Port: 5080}, {Host: "sip.carrier.example"}},
		Transport: masking.UDP, Country: "IN", NumberFormat: masking.FormatNational, TrustIdentity: true,
		Priority: 1, Weight: 2, MaxCalls: 3, MaxCPS: 4, CallerIDs: []string{"+9180*", "+14155550100"}, SRTP: masking.SRTPOptional,
		StripPrefixes: []string{"9901#", "+"}, AddPrefix: "77",
		Auth:     masking.Credentials{Username: "acme", Realm: `a "realm"`, Sealed: []byte("\x00sealed\xff")},
		Register: masking.Registration{Domain: "carrier.example", ContactUser: "acme-1", Expires: time.Hour}, OptionsEvery: 30 * time.Second, Takeover: masking.TakeoverOff,
		CreatedAt: Start(), UpdatedAt: Start()}
}

func trunkRoundTrip(b *bench) {
	t := trunk("carrier")
	read := func(ctx context.Context, tx store.Reader) (masking.Trunk, error) { return tx.Trunk(ctx, "carrier") }
	b.code(masking.CodeNotFound, getErr(b, read))
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertTrunk(ctx, t) })
	equal(b, get(b, read), t)
	t = masking.Trunk{Name: "carrier", Sources: t.Sources[:1], Transport: masking.ByDNS, Country: "GB", NumberFormat: masking.FormatPlain, SRTP: masking.SRTPRequired, Takeover: masking.TakeoverAuto,
		CreatedAt: Start(), UpdatedAt: Start().Add(time.Second)}
	b.update(func(ctx context.Context, tx store.Tx) error {
		changed := t
		changed.CreatedAt = time.Time{} // not an update's to write
		return tx.UpdateTrunk(ctx, changed)
	})
	equal(b, get(b, read), t)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteTrunk(ctx, "carrier") })
	b.code(masking.CodeNotFound, getErr(b, read))
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.DeleteTrunk(ctx, "carrier") })
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.UpdateTrunk(ctx, t) })
}

func trunkTaken(b *bench) {
	insert := func(ctx context.Context, tx store.Tx) error { return tx.InsertTrunk(ctx, trunk("carrier")) }
	b.update(insert)
	b.refused(masking.CodeAlreadyExists, insert)
}

func trunkList(b *bench) {
	b.update(func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.InsertTrunk(ctx, trunk("b")), tx.InsertTrunk(ctx, trunk("c")), tx.InsertTrunk(ctx, trunk("a")))
	})
	equal(b, get(b, func(ctx context.Context, tx store.Reader) ([]masking.Trunk, error) { return tx.Trunks(ctx) }),
		[]masking.Trunk{trunk("a"), trunk("b"), trunk("c")})
}

func replayTests() []test {
	return []test{
		{"AnAnswerIsReplayedByteForByteToItsTenant", replayRoundTrip},
		{"AnAnswerIsOverwrittenOnlyAfterADay", replayOverwrite},
		{"OldAnswersAreForgottenInPortions", replayForget},
	}
}

func replay(key string, at time.Time) store.Replay {
	return store.Replay{Tenant: "acme", Key: key, Digest: [32]byte{1, 2, 3}, Status: 201, Body: []byte("{\"a\": \x00\xff}"), CreatedAt: at}
}

func keep(r store.Replay) func(context.Context, store.Tx) error {
	return func(ctx context.Context, tx store.Tx) error { return tx.KeepReplay(ctx, r) }
}

// replayed reads an answer of acme kept since then.
func (b *bench) replayed(tenant masking.TenantID, key string, notBefore time.Time) (r store.Replay, err error) {
	b.Helper()
	err = b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		r, err = tx.Replay(ctx, tenant, key, notBefore)
		return err
	})
	return r, err
}

func replayRoundTrip(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	want := replay("key", Start())
	b.update(keep(want))
	got, err := b.replayed("acme", "key", Start())
	if err != nil {
		b.Fatal(err)
	}
	equal(b, got, want)
	for _, c := range []struct {
		tenant masking.TenantID
		key    string
		since  time.Time
	}{{"other", "key", Start()}, {"acme", "Key", Start()}, {"acme", "key", Start().Add(time.Millisecond)}} {
		_, err := b.replayed(c.tenant, c.key, c.since)
		b.code(masking.CodeNotFound, err)
	}
	err = b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.KeepReplay(ctx, replay("lost", Start())); err != nil {
			return err
		}
		return errTest
	})
	if !errors.Is(err, errTest) {
		b.Fatal(err)
	}
	_, err = b.replayed("acme", "lost", Start())
	b.code(masking.CodeNotFound, err)
	empty := replay("empty", Start())
	empty.Body = nil
	b.update(keep(empty))
	got, err = b.replayed("acme", "empty", Start())
	if err != nil || len(got.Body) != 0 {
		b.Fatalf("an empty body: %v, %v", got.Body, err)
	}
}

func replayOverwrite(b *bench) {
	b.tenant("acme")
	b.update(keep(replay("key", Start())))
	next := replay("key", Start().Add(24*time.Hour))
	next.Status, next.Digest, next.Body = 409, [32]byte{9}, []byte("next")
	b.refused(masking.CodeIdempotencyKeyReused, keep(next))
	got, err := b.replayed("acme", "key", Start())
	if err != nil {
		b.Fatal(err)
	}
	equal(b, got, replay("key", Start()))
	next.CreatedAt = next.CreatedAt.Add(time.Millisecond)
	b.update(keep(next))
	if got, err = b.replayed("acme", "key", Start()); err != nil {
		b.Fatal(err)
	}
	equal(b, got, next)
}

func replayForget(b *bench) {
	b.tenant("acme")
	for i := range 5 {
		b.update(keep(replay(fmt.Sprint(i), Start().Add(time.Duration(i)*time.Second))))
	}
	forget := func(limit, want int) {
		b.Helper()
		b.update(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.ForgetReplays(ctx, Start().Add(3*time.Second), limit)
			if err != nil {
				return err
			}
			return same(n, want)
		})
	}
	forget(2, 2)
	forget(2, 1)
	forget(2, 0)
	for i, want := range []bool{false, false, false, true, true} {
		if _, err := b.replayed("acme", fmt.Sprint(i), time.Time{}); (err == nil) != want {
			b.Errorf("answer %d: %v", i, err)
		}
	}
}
