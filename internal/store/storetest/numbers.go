package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func numberTests() []test {
	return []test{
		{"ANumberIsReadAsWrittenAndOnlyByItsTenant", numberRoundTrip},
		{"ANumberStandsInOnePoolOnly", numberTaken},
		{"AnActivePartyCannotBecomeAVirtualNumber", numberIsParty},
		{"AnyVirtualKnowsThePoolsOfAllTenants", anyVirtual},
		{"SharingChangesOnlyWhileNothingIsActive", sharingChange},
		{"ANumberLeavesThePoolOnlyWhileNothingIsActive", numberDelete},
		{"NoteUseCountsAndNeverGoesBelowZero", noteUse},
		{"TheHealthOfANumberIsWrittenByWhoReadItLast", numberHealth},
		{"PagesOfNumbersAreCompleteWhileOthersInsert", numberPages},
	}
}

func numberHealth(b *bench) {
	b.acme()
	b.tenant("other")
	read := func(tenant masking.TenantID) func(context.Context, store.Reader) (masking.NumberHealth, error) {
		return func(ctx context.Context, tx store.Reader) (masking.NumberHealth, error) {
			return tx.NumberHealth(ctx, tenant, Virtual(1))
		}
	}
	write := func(tenant masking.TenantID, was, is masking.NumberHealth) (changed bool) {
		b.update(func(ctx context.Context, tx store.Tx) (err error) {
			changed, err = tx.SetNumberHealth(ctx, tenant, Virtual(1), was, is)
			return err
		})
		return changed
	}
	var none masking.NumberHealth
	equal(b, get(b, read("acme")), none)
	b.code(masking.CodeNotFound, getErr(b, read("other")))
	one := masking.NumberHealth{Legs: []masking.ShownLeg{{At: Start(), Blame: masking.BlameForbidden, Of: "gvn_1"}}}
	two := masking.NumberHealth{Since: Start().Add(time.Minute), Reason: masking.BlameBlocked,
		Legs: append(one.Legs[:1:1], masking.ShownLeg{At: Start().Add(time.Minute)})}
	equal(b, []bool{write("other", none, one), write("acme", one, two), write("acme", none, one), write("acme", none, two)}, []bool{false, false, true, false})
	equal(b, get(b, read("acme")), one)
	equal(b, write("acme", one, two), true)
	equal(b, get(b, read("acme")), two)
	vn := Number("acme", Virtual(1), masking.Exclusive)
	vn.Region = "KA"
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateNumber(ctx, vn, Start()) }) // leaves it
	equal(b, get(b, read("acme")), two)
	equal(b, write("acme", two, none), true)
	equal(b, get(b, read("acme")), none)
}

func numberRoundTrip(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	n := Number("acme", Virtual(1), masking.Shared)
	n.Region, n.Type, n.Load, n.RestedAt = "", "toll-free", 3, Start().Add(time.Minute)
	n.Strangers = masking.StrangerPolicy{Action: masking.Forward, Forward: Person(7)}
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, Start()) })
	read := func(tenant masking.TenantID) func(context.Context, store.Reader) (masking.VirtualNumber, error) {
		return func(ctx context.Context, tx store.Reader) (masking.VirtualNumber, error) {
			return tx.Number(ctx, tenant, Virtual(1))
		}
	}
	equal(b, get(b, read("acme")), n)
	b.code(masking.CodeNotFound, getErr(b, read("other")))
	changed := n
	changed.Region, changed.Type, changed.Sharing = "EU", "mobile", masking.Exclusive
	changed.Strangers = masking.StrangerPolicy{Action: masking.AskWebhook, URL: "https://acme.example/calls"}
	changed.Load, changed.RestedAt, changed.CreatedAt = 99, time.Time{}, time.Time{} // not UpdateNumber's to write
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.UpdateNumber(ctx, changed, Start()) })
	n.Region, n.Type, n.Sharing, n.Strangers = "EU", "mobile", masking.Exclusive, changed.Strangers
	equal(b, get(b, read("acme")), n)
	r, err := b.Route(b.Context(), Virtual(1), Person(1))
	equal(b, err, nil)
	equal(b, r.Number, n)
	changed.Tenant = "other"
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error { return tx.UpdateNumber(ctx, changed, Start()) })
	b.refused(masking.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteNumber(ctx, "other", Virtual(1), Start())
	})
}

func numberTaken(b *bench) {
	b.acme()
	b.tenant("other")
	insert := func(n masking.VirtualNumber) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, Start()) }
	}
	b.refused(masking.CodeAlreadyExists, insert(Number("acme", Virtual(1), masking.Shared)))
	b.refused(masking.CodeAlreadyExists, insert(Number("other", Virtual(1), masking.Shared)))
	b.refused(masking.CodeNotFound, insert(Number("nobody", Virtual(7), masking.Shared)))
}

func numberIsParty(b *bench) {
	b.acme()
	b.tenant("other")
	a := Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2))
	a.Usage = masking.OneWay // Person 2 claims nothing, and is a party all the same
	b.created(a, Start())
	insert := func(party e164.Number, now time.Time) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error {
			return tx.InsertNumber(ctx, Number("other", party, masking.Shared), now)
		}
	}
	last := a.ExpiresAt.Add(-time.Millisecond)
	b.refused(masking.CodeStillInUse, insert(Person(1), last))
	b.refused(masking.CodeStillInUse, insert(Person(2), last))
	b.update(insert(Person(2), a.ExpiresAt))
	if err := Change(b.Context(), b, "acme", a.ID, Start(), func(a masking.Allocation) (masking.Allocation, error) {
		return a.WithParties(People(3), nil, Start())
	}); err != nil {
		b.Fatal(err)
	}
	b.update(insert(Person(1), Start())) // a party no more
	b.refused(masking.CodeStillInUse, insert(Person(3), Start()))
	if err := Delete(b.Context(), b, "acme", a.ID, Start().Add(time.Second)); err != nil {
		b.Fatal(err)
	}
	b.update(insert(Person(3), Start().Add(time.Second)))
}

func anyVirtual(b *bench) {
	b.acme()
	b.tenant("other")
	b.number("other", 3, masking.Shared)
	for _, c := range []struct {
		numbers []e164.Number
		want    bool
	}{
		{nil, false}, {People(1, 2, 3), false}, {[]e164.Number{Virtual(3)}, true},
		{append(People(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19), Virtual(1)), true},
	} {
		equal(b, get(b, func(ctx context.Context, tx store.Reader) (bool, error) { return tx.AnyVirtual(ctx, "acme", c.numbers) }), c.want)
	}
}

func sharingChange(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	update := func(sharing masking.Sharing, region string, now time.Time) error {
		n := Number("acme", Virtual(1), sharing)
		n.Region = region
		return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.UpdateNumber(ctx, n, now) })
	}
	b.code(masking.CodeStillInUse, update(masking.Shared, "EU", a.ExpiresAt.Add(-time.Millisecond)))
	n := get(b, func(ctx context.Context, tx store.Reader) (masking.VirtualNumber, error) {
		return tx.Number(ctx, "acme", Virtual(1))
	})
	equal(b, n.Region, "AP") // the refused update changed nothing
	if err := update(masking.Exclusive, "EU", Start()); err != nil {
		b.Fatalf("the region alone, while an allocation is active: %v", err)
	}
	if err := update(masking.Shared, "EU", a.ExpiresAt); err != nil {
		b.Fatalf("after the expiry: %v", err)
	}
}

func numberDelete(b *bench) {
	b.acme()
	b.tenant("other")
	a := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	remove := func(now time.Time) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.DeleteNumber(ctx, "acme", Virtual(1), now) }
	}
	b.refused(masking.CodeStillInUse, remove(a.ExpiresAt.Add(-time.Millisecond)))
	b.update(remove(a.ExpiresAt))
	b.code(masking.CodeNotFound, getErr(b, func(ctx context.Context, tx store.Reader) (masking.Route, error) {
		return tx.Route(ctx, Virtual(1), Person(1))
	}))
	equal(b, b.allocation(a.ID), a) // the history stays
	// In another pool the number knows nothing of its past.
	b.number("other", 1, masking.Shared)
	b.routes(Virtual(1), Person(1), nil, a.ExpiresAt)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.NoteUse(ctx, Virtual(5), -1, Start()) })
}

func noteUse(b *bench) {
	b.acme()
	at := Start()
	for i, c := range []struct{ delta, want int }{{1, 1}, {1, 2}, {-1, 1}, {-1, 0}, {-1, 0}, {1, 1}} {
		at = at.Add(time.Second)
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.NoteUse(ctx, Virtual(1), c.delta, at) })
		n := get(b, func(ctx context.Context, tx store.Reader) (masking.VirtualNumber, error) {
			return tx.Number(ctx, "acme", Virtual(1))
		})
		if n.Load != c.want || !n.RestedAt.Equal(at) {
			b.Fatalf("step %d: load %d, want %d; rested %v, want %v", i, n.Load, c.want, n.RestedAt, at)
		}
	}
}

func numberPages(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	const before, during = 40, 40
	for i := range before {
		b.number("acme", 2*i, masking.Shared)
	}
	b.number("other", 2*before+1, masking.Shared)
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	wg.Go(func() {
		for i := range during {
			n := Number("acme", Virtual(2*i+1), masking.Shared)
			if err := b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, Start()) }); err != nil {
				errs <- err
				return
			}
		}
	})
	seen := map[string]bool{}
	after := ""
	for {
		page := get(b, func(ctx context.Context, tx store.Reader) ([]masking.VirtualNumber, error) {
			return tx.Numbers(ctx, "acme", after, 7)
		})
		for _, n := range page {
			key := n.Number.E164()
			if seen[key] || key <= after || n.Tenant != "acme" {
				b.Errorf("number %s comes twice, out of order or from another pool", n.Number)
			}
			seen[key], after = true, key
		}
		if len(page) < 7 {
			break
		}
	}
	wg.Wait()
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	for i := range before {
		if !seen[Virtual(2*i).E164()] {
			b.Errorf("number %d, which was there all the time, is on no page", 2*i)
		}
	}
}

func choiceTests() []test {
	return []test{
		{"UsableNumbersComeLeastLoadedThenLongestAtRest", usableOrder},
		{"UsableNumbersAnswerThePick", usablePick},
		{"AClosedNumberIsNotUsableUntilTheClaimExpires", usableClosed},
		{"AnExclusiveNumberIsUsableWheneverNothingLivesOnIt", exclusiveFollows},
		{"EarliestReleaseIsTheFirstExpiryThatOpensANumber", earliestRelease},
	}
}

// usable reads the numbers of acme that answer the pick.
func (b *bench) usable(p masking.Pick, parties []e164.Number, now time.Time, limit int) string {
	b.Helper()
	list := get(b, func(ctx context.Context, tx store.Reader) ([]masking.VirtualNumber, error) {
		return tx.Usable(ctx, "acme", p, parties, now, limit)
	})
	var text string
	for _, n := range list {
		text += n.Number.E164()[len("+9180000"):] + " "
	}
	return text
}

func usableOrder(b *bench) {
	b.tenant("acme")
	for i, c := range []struct {
		load   int
		rested time.Time
	}{{2, Start()}, {0, Start().Add(2 * time.Second)}, {0, Start().Add(time.Second)}, {0, time.Time{}}, {1, Start()}, {0, time.Time{}}} {
		n := Number("acme", Virtual(i), masking.Shared)
		n.Load, n.RestedAt = c.load, c.rested
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, Start()) })
	}
	pick := masking.Pick{Sharing: masking.Shared}
	equal(b, b.usable(pick, People(1), Start(), 0), "00003 00005 00002 00001 00004 00000 ")
	equal(b, b.usable(pick, People(1), Start(), 2), "00003 00005 ")
	equal(b, b.usable(pick, nil, Start(), 1), "00003 ")
}

func usablePick(b *bench) {
	b.tenant("acme")
	b.tenant("other")
	b.number("other", 9, masking.Shared)
	for i, n := range []masking.VirtualNumber{{Region: "AP", Type: "mobile"}, {Region: "EU", Type: "mobile"}, {Region: "EU", Type: "landline"}} {
		n.Number, n.Tenant, n.Sharing = Virtual(i), "acme", masking.Shared
		b.update(func(ctx context.Context, tx store.Tx) error { return tx.InsertNumber(ctx, n, Start()) })
	}
	b.number("acme", 3, masking.Exclusive)
	for pick, want := range map[masking.Pick]string{
		{Sharing: masking.Shared}:                                 "00000 00001 00002 ",
		{Sharing: masking.Exclusive}:                              "00003 ",
		{Sharing: masking.Shared, Region: "EU"}:                   "00001 00002 ",
		{Sharing: masking.Shared, Type: "mobile"}:                 "00000 00001 ",
		{Sharing: masking.Shared, Region: "EU", Type: "landline"}: "00002 ",
		{Sharing: masking.Shared, Region: "AP", Type: "landline"}: "",
	} {
		equal(b, b.usable(pick, People(1), Start(), 10), want)
	}
}

func usableClosed(b *bench) {
	b.acme()
	one := b.created(Allocation("acme", AllocationID(1), Virtual(1), People(1), People(2)), Start())
	two := Allocation("acme", AllocationID(2), Virtual(2), People(1), People(2))
	two.Usage, two.ExpiresAt = masking.OneWay, Start().Add(2*time.Hour)
	b.created(two, Start())
	exclusive, shared := masking.Pick{Sharing: masking.Exclusive}, masking.Pick{Sharing: masking.Shared}
	for i, c := range []struct {
		pick    masking.Pick
		parties []e164.Number
		now     time.Time
		want    string
	}{
		{exclusive, People(7), Start(), ""}, // closed to anybody
		{exclusive, People(7), one.ExpiresAt.Add(-time.Millisecond), ""},
		{exclusive, People(7), one.ExpiresAt, "00001 "},
		{shared, People(1), Start(), ""},
		{shared, People(3, 1), Start(), ""},
		{shared, People(2), Start(), ""}, // he may not call there, and stands there all the same
		{shared, People(2), two.ExpiresAt.Add(-time.Millisecond), ""},
		{shared, People(2), two.ExpiresAt, "00002 "},
		{shared, People(7), Start(), "00002 "},
		{shared, People(1), two.ExpiresAt, "00002 "},
	} {
		if got := b.usable(c.pick, c.parties, c.now, 5); got != c.want {
			b.Errorf("case %d: got %q, want %q", i, got, c.want)
		}
	}
}

func earliestRelease(b *bench) {
	b.acme()
	b.tenant("other")
	b.number("other", 3, masking.Exclusive)
	create := func(i, virtual int, tenant masking.TenantID, life time.Duration, from, to int) {
		b.Helper()
		a := Allocation(tenant, AllocationID(i), Virtual(virtual), People(from), People(to))
		a.ExpiresAt = Start().Add(life)
		b.created(a, Start())
	}
	release := func(now time.Time, parties ...int) string {
		b.Helper()
		at := get(b, func(ctx context.Context, tx store.Reader) (time.Time, error) {
			return tx.EarliestRelease(ctx, "acme", People(parties...), now)
		})
		if at.IsZero() {
			return "none"
		}
		return fmt.Sprint(at.Sub(Start()))
	}
	equal(b, release(Start(), 1), "none")
	create(1, 3, "other", time.Minute, 1, 2)
	equal(b, release(Start(), 1), "none") // another tenant's pool
	create(2, 1, "acme", 3*time.Hour, 5, 6)
	equal(b, release(Start(), 1), "3h0m0s")
	create(3, 2, "acme", 2*time.Hour, 1, 2)
	create(4, 2, "acme", time.Hour, 8, 9)
	equal(b, release(Start(), 1), "2h0m0s") // 8 and 9 do not stand in 1's way
	equal(b, release(Start(), 1, 9), "1h0m0s")
	equal(b, release(Start().Add(2*time.Hour), 1), "3h0m0s")
	quiet := oneway(5, 2, People(20), People(21))
	quiet.ExpiresAt = Start().Add(time.Minute)
	b.created(quiet, Start())
	equal(b, release(Start(), 21), "1m0s") // he may not call there, and stands there
	equal(b, release(Start().Add(time.Minute), 21), "3h0m0s")
	equal(b, release(Start().Add(3*time.Hour), 1), "none")
}

// exclusiveFollows has numbers taken, lengthened, moved, given up, run out and
// taken over: the choice must know each time which are free.
func exclusiveFollows(b *bench) {
	b.tenant("acme")
	for i := range 3 {
		b.number("acme", i, masking.Exclusive)
	}
	pick, now := masking.Pick{Sharing: masking.Exclusive}, Start()
	free := func(want string) {
		b.Helper()
		equal(b, b.usable(pick, People(7), now, 5), want)
	}
	step := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	end := Start().Add(time.Hour)
	a := b.created(Allocation("acme", AllocationID(1), Virtual(0), People(1), People(2)), now)
	free("00001 00002 ")
	b.code(masking.CodeVirtualNumberInUse, Create(b.Context(), b, Allocation("acme", AllocationID(2), Virtual(0), People(3), People(4)), now))
	free("00001 00002 ")
	step(b.move(a.ID, 1, now))
	free("00002 00000 ") // 0 has carried one
	life, settings := 2*time.Hour, Tenant(b, "acme").Settings
	step(b.change(a.ID, now, func(a masking.Allocation) (masking.Allocation, error) {
		return a.WithPatch(masking.Patch{Duration: &life}, settings, now)
	}))
	now = end
	free("00002 00000 ") // it lives longer
	now = end.Add(time.Hour)
	free("00002 00000 00001 ") // over, and not swept
	next := Allocation("acme", AllocationID(3), Virtual(1), People(5), People(6))
	next.ExpiresAt = now.Add(time.Hour)
	b.created(next, now)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, a.ID) }) // the sweeper comes late
	free("00002 00000 ")
	step(Delete(b.Context(), b, "acme", next.ID, now))
	free("00002 00000 00001 ")
	for i := range 3 {
		last := Allocation("acme", AllocationID(10+i), Virtual(i), People(20+i), People(30+i))
		last.ExpiresAt = now.Add(time.Duration(3-i) * time.Hour)
		b.created(last, now)
	}
	free("")
	now = now.Add(3 * time.Hour)
	free("00002 00001 00000 ") // the one that has been over longest first
	equal(b, b.usable(pick, nil, now, 2), "00002 00001 ")
	// Shared now, and exclusive again: what is left of the past closes nothing.
	for _, sharing := range []masking.Sharing{masking.Shared, masking.Exclusive} {
		pick.Sharing = sharing
		b.update(func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateNumber(ctx, Number("acme", Virtual(0), sharing), now)
		})
		equal(b, b.usable(pick, People(7), now, 1), "00000 ")
	}
	over := b.created(func() masking.Allocation {
		a := Allocation("acme", AllocationID(20), Virtual(0), People(1), People(2))
		a.ExpiresAt = now.Add(time.Hour)
		return a
	}(), now)
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.Release(ctx, AllocationID(10)) })
	free("00002 00001 ")
	b.routes(Virtual(0), Person(1), &over, now)
}
