package control_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/storetest"
	"tandem/internal/testkit/database"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is the use cases on a real database that tests may disturb.
type bench struct {
	testing.TB
	*control.Plane
	disturbed *disturbed
	dir       string
	logs      *bytes.Buffer
	mu        sync.Mutex
	now       time.Time
	tenant    masking.Tenant
	first     int // index of the tenant's first number
}

// disturbed is a store whose Update a test may run otherwise.
type disturbed struct {
	store.Store
	views  atomic.Int64
	update func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error
}

func (d *disturbed) View(ctx context.Context, fn func(context.Context, store.Reader) error) error {
	d.views.Add(1)
	return d.Store.View(ctx, fn)
}

func (d *disturbed) Update(ctx context.Context, fn func(context.Context, store.Tx) error) error {
	if d.update != nil {
		return d.update(ctx, d.Store, fn)
	}
	return d.Store.Update(ctx, fn)
}

func newBench(tb testing.TB) *bench {
	tb.Helper()
	b := &bench{TB: tb, dir: tb.TempDir(), logs: &bytes.Buffer{}, now: storetest.Start()}
	engine := database.Open(tb, sqlite.Options{Path: filepath.Join(b.dir, "control.db"), Synchronous: sqlite.Normal})
	tb.Cleanup(func() {
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})
	b.disturbed = &disturbed{Store: engine}
	var err error
	b.Plane, err = control.New(control.Options{TrunkSecrets: sealer{}, WebhookSecrets: sealer{}, Store: b.disturbed, Clock: b.clock, Random: rand.Reader,
		Log: slog.New(slog.NewTextHandler(b.logs, nil)), TokenKey: bytes.Repeat([]byte{1}, 32)})
	if err != nil {
		tb.Fatal(err)
	}
	b.move("acme", 0)
	return b
}

// move makes a tenant with four numbers, from the one with index first on, and
// works for him from then on.
func (b *bench) move(id masking.TenantID, first int) {
	b.Helper()
	b.tenant, b.first = storetest.Tenant(b, id), first
	err := b.disturbed.Store.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, b.tenant); err != nil {
			return err
		}
		for i := range 4 {
			sharing := masking.Exclusive
			if i >= 2 {
				sharing = masking.Shared
			}
			if err := tx.InsertNumber(ctx, storetest.Number(id, storetest.Virtual(first+i), sharing), b.clock()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	b.now = b.now.Add(d)
	b.mu.Unlock()
}

// once answers with the JSON of the result.
func once[T any](key string, digest byte) control.Once[T] {
	return control.Once[T]{Key: key, Digest: [32]byte{digest},
		Render: func(v T) control.Answer { b, _ := json.Marshal(v); return control.Answer{Status: 200, Body: b} },
		Refuse: func(e *masking.Error) control.Answer { return control.Answer{Status: 409, Body: []byte(e.Code)} }}
}

func on(i int, from, to []e164.Number) control.NewAllocation {
	return control.NewAllocation{Draft: masking.Draft{From: from, To: to, Duration: time.Hour}, VirtualNumber: storetest.Virtual(i)}
}

// create makes an allocation and reads it back.
func (b *bench) create(i int, from, to []e164.Number) masking.Allocation {
	b.Helper()
	var made masking.Allocation
	o := once[control.Snapshot]("", 0)
	o.Render = func(s control.Snapshot) control.Answer { made = s.Allocation; return control.Answer{} }
	if _, err := b.Allocations.Create(context.Background(), b.tenant, on(i, from, to), o); err != nil {
		b.Fatal(err)
	}
	return made
}

func (b *bench) count() (allocations, events int) {
	b.Helper()
	err := b.disturbed.Store.View(context.Background(), func(ctx context.Context, tx store.Reader) error {
		a, err := tx.Allocations(ctx, store.AllocationFilter{Tenant: "acme", Product: masking.GreenVN, Limit: 1000, Now: b.clock()})
		if err != nil {
			return err
		}
		e, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 1000})
		allocations, events = len(a), len(e)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return allocations, events
}

func TestATransactionThatRunsTwiceLeavesOneChangeAndOneAnswer(t *testing.T) {
	b := newBench(t)
	again := errors.New("serialization failure")
	b.disturbed.update = func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error {
		if err := real.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return again
		}); !errors.Is(err, again) {
			return err
		}
		return real.Update(ctx, fn)
	}
	first, err := b.Allocations.Create(t.Context(), b.tenant, on(0, storetest.People(1), storetest.People(2)), once[control.Snapshot]("k", 1))
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Allocations.Create(t.Context(), b.tenant, on(0, storetest.People(1), storetest.People(2)), once[control.Snapshot]("k", 1))
	if err != nil || !bytes.Equal(first.Body, second.Body) {
		t.Errorf("the repeat answers %s, %v; the first %s", second.Body, err, first.Body)
	}
	if a, e := b.count(); a != 1 || e != 1 {
		t.Errorf("%d allocations and %d events, want one each", a, e)
	}
}

// failing is a transaction that cannot keep an answer.
type failing struct{ store.Tx }

func (failing) KeepReplay(context.Context, store.Replay) error {
	return errors.New("disk full: +919900000001")
}

func TestAnAnswerThatCannotBeKeptUndoesItsChange(t *testing.T) {
	b := newBench(t)
	b.disturbed.update = func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error {
		return real.Update(ctx, func(ctx context.Context, tx store.Tx) error { return fn(ctx, failing{tx}) })
	}
	_, err := b.Allocations.Create(t.Context(), b.tenant, on(0, storetest.People(1), storetest.People(2)), once[control.Snapshot]("k", 1))
	if masking.KindOf(err) != masking.Unavailable {
		t.Errorf("error %v, want Unavailable", err)
	}
	if strings.Contains(err.Error(), "disk") || !strings.Contains(b.logs.String(), "disk full") {
		t.Errorf("the cause belongs in the log alone: %v; log %s", err, b.logs)
	}
	if a, e := b.count(); a != 0 || e != 0 {
		t.Errorf("%d allocations and %d events were left", a, e)
	}
}

func TestADuplicateThatSucceededMeanwhileAnswersForTheRefusedOne(t *testing.T) {
	b := newBench(t)
	holder := b.create(0, storetest.People(1), storetest.People(2))
	ask := func() (control.Answer, error) {
		return b.Allocations.Create(context.Background(), b.tenant, on(0, storetest.People(3), storetest.People(4)), once[control.Snapshot]("k", 1))
	}
	var between control.Answer
	b.disturbed.update = func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error {
		err := real.Update(ctx, fn)
		if masking.KindOf(err) == masking.Conflict { // before it is kept: the way is free and the duplicate comes
			b.disturbed.update = nil
			if _, err := b.Allocations.Delete(ctx, b.tenant, holder.ID, false, once[control.Snapshot]("", 0)); err != nil {
				t.Error(err)
			}
			var failed error
			if between, failed = ask(); failed != nil {
				t.Error(failed)
			}
		}
		return err
	}
	refused, err := ask()
	if err != nil || refused.Status != 200 || !bytes.Equal(refused.Body, between.Body) {
		t.Errorf("answered %d %s, %v; the duplicate got %d %s", refused.Status, refused.Body, err, between.Status, between.Body)
	}
}

func TestATokenIsNowhereInTheDatabaseFiles(t *testing.T) {
	b := newBench(t)
	o := once[control.NewToken]("key of the operator", 1)
	var secret string
	o.Render = func(v control.NewToken) control.Answer {
		secret = v.Secret
		return control.Answer{Status: 201, Body: []byte(`{"token":"` + v.Secret + `"}`)}
	}
	_, _ = b.Tokens.Create(t.Context(), "acme", "ci", control.Once[control.NewToken]{Render: o.Render})
	unkeyed := secret
	if _, err := b.Tokens.Create(t.Context(), "acme", "ci", o); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(b.dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		read += len(content)
		for _, s := range []string{secret, unkeyed, secret[4:20]} {
			if bytes.Contains(content, []byte(s)) {
				t.Errorf("%s holds a token", f.Name())
			}
		}
	}
	if read < 10_000 || len(secret) != 68 {
		t.Fatalf("read %d bytes, secret of %d: this test sees nothing", read, len(secret))
	}
}

func TestAnUnknownAccountCostsTheSameAsAWrongToken(t *testing.T) {
	b := newBench(t)
	var secret string
	_, err := b.Tokens.Create(t.Context(), "acme", "", control.Once[control.NewToken]{Render: func(v control.NewToken) control.Answer {
		secret = v.Secret
		return control.Answer{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	cost := func(sid masking.AccountSID, token string, want masking.Kind) int64 {
		t.Helper()
		before := b.disturbed.views.Load()
		if _, _, err := b.Tokens.Authenticate(t.Context(), sid, token); masking.KindOf(err) != want {
			t.Errorf("error %v, want kind %q", err, want)
		}
		return b.disturbed.views.Load() - before
	}
	right, wrong, unknown := cost(b.tenant.AccountSID, secret, ""), cost(b.tenant.AccountSID, secret+"x", masking.NotFound), cost("ac_nobody", secret, masking.NotFound)
	if right != 1 || wrong != 1 || unknown != 1 {
		t.Errorf("looks into the store: right %d, wrong %d, unknown %d; want one each", right, wrong, unknown)
	}
	_, _, e1 := b.Tokens.Authenticate(t.Context(), b.tenant.AccountSID, "x")
	_, _, e2 := b.Tokens.Authenticate(t.Context(), "ac_nobody", "x")
	if e1.Error() != e2.Error() {
		t.Errorf("a wrong token says %v, an unknown account %v", e1, e2)
	}
}

// blind is a transaction that began before there was an answer under the key.
type blind struct{ store.Tx }

func (blind) Replay(context.Context, masking.TenantID, string, time.Time) (store.Replay, error) {
	return store.Replay{}, masking.ErrNotFound()
}

func TestADuplicateInFlightIsUndoneAndGetsTheFirstAnswer(t *testing.T) {
	for name, digest := range map[string]byte{"the same request": 1, "another request": 2} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			create := func(digest byte, from, to int) (control.Answer, error) {
				return b.Allocations.Create(context.Background(), b.tenant, on(2, storetest.People(from), storetest.People(to)), once[control.Snapshot]("k", digest))
			}
			first, err := create(1, 1, 2)
			if err != nil {
				t.Fatal(err)
			}
			updates := 0
			b.disturbed.update = func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error {
				updates++
				return real.Update(ctx, func(ctx context.Context, tx store.Tx) error {
					if updates == 1 {
						tx = blind{tx}
					}
					return fn(ctx, tx)
				})
			}
			// Others than those of the first, so that no claim is in the way.
			second, err := create(digest, 3, 4)
			switch digest {
			case 1:
				if err != nil || string(second.Body) != string(first.Body) {
					t.Errorf("answered %s, %v, and the first %s", second.Body, err, first.Body)
				}
			default:
				var refused *masking.Error
				if !errors.As(err, &refused) || refused.Code != masking.CodeIdempotencyKeyReused {
					t.Errorf("answered %s, %v", second.Body, err)
				}
			}
			if allocations, events := b.count(); allocations != 1 || events != 1 {
				t.Errorf("%d allocations and %d events are left", allocations, events)
			}
		})
	}
}

func TestSweepsAtOnceTellOfEachEndOnce(t *testing.T) {
	b := newBench(t)
	for i := range 20 {
		b.create(2, storetest.People(2*i), storetest.People(2*i+1))
	}
	b.pass(time.Hour)
	var wg sync.WaitGroup
	swept := make([]int, 8)
	for i := range swept {
		wg.Go(func() {
			n, err := b.Allocations.Sweep(context.Background(), 5)
			if err != nil {
				t.Error(err)
			}
			swept[i] = n
		})
	}
	wg.Wait()
	total := 0
	for _, n := range swept {
		total += n
	}
	if _, events := b.count(); total != 20 || events != 40 {
		t.Errorf("%d ends written, %d events; want 20 ends told once each", total, events)
	}
}

func TestWhatIsToldOfAFailingStoreIsOnlyThatItIsAway(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Allocations.Get(ctx, b.tenant, storetest.AllocationID(1)); masking.KindOf(err) != masking.Unavailable {
		t.Errorf("a caller who left: %v", err)
	}
	if b.logs.Len() != 0 {
		t.Errorf("a caller who left is no failure: %s", b.logs)
	}
	b.disturbed.update = func(context.Context, store.Store, func(context.Context, store.Tx) error) error {
		return io.ErrUnexpectedEOF
	}
	if _, err := b.Trunks.Remove(t.Context(), "x", once[string]("", 0)); masking.KindOf(err) != masking.Unavailable {
		t.Errorf("a broken store: %v", err)
	}
	if !strings.Contains(b.logs.String(), "unexpected EOF") {
		t.Errorf("the log: %s", b.logs)
	}
	b.logs.Reset()
	b.disturbed.update = func(context.Context, store.Store, func(context.Context, store.Tx) error) error {
		return store.ErrAway
	}
	if _, err := b.Trunks.Remove(t.Context(), "x", once[string]("", 0)); masking.KindOf(err) != masking.Unavailable || !errors.Is(err, store.ErrAway) {
		t.Errorf("a database that is away: %v", err)
	}
	if b.logs.Len() != 0 {
		t.Errorf("it is told by who has found it out: %s", b.logs)
	}
}

func TestEmergencyNumbersAndNonNumbersAreToldApart(t *testing.T) {
	for text, want := range map[string]masking.Code{
		"+919900000001": "", "112": masking.CodeEmergencyNumber, "+91 112": masking.CodeEmergencyNumber, "(100)": masking.CodeEmergencyNumber,
		"": masking.CodeInvalidNumber, "abc": masking.CodeInvalidNumber, "9900000001": masking.CodeInvalidNumber, "+9199": masking.CodeInvalidNumber,
	} {
		_, err := control.ParseParties("from", []string{"+14155550100", text})
		var refused *masking.Error
		got := masking.Code("")
		if errors.As(err, &refused) {
			got = refused.Code
			if refused.Field != "from" || !strings.Contains(refused.Message, "from[1]") {
				t.Errorf("%q blames %q: %s", text, refused.Field, refused.Message)
			}
		}
		if got != want {
			t.Errorf("%q: code %q, want %q", text, got, want)
		}
	}
}

func TestOptionsThatWouldFailLaterAreRefused(t *testing.T) {
	if _, err := control.New(control.Options{}); err == nil {
		t.Error("no options at all are taken")
	}
	b := newBench(t)
	if _, err := control.New(control.Options{TrunkSecrets: sealer{}, WebhookSecrets: sealer{}, Store: b.disturbed, Clock: time.Now, Random: rand.Reader, Log: slog.Default(), TokenKey: make([]byte, 31)}); err == nil {
		t.Error("a short key is taken")
	}
}

// Whatever applications do in whatever order: the loads of the numbers are the
// active allocations on them once expired ones are swept, claims route each
// party to the allocation that names him and nobody else, and each change is
// told once.
func TestLoadsClaimsAndEventsFollowAnySequenceOfChanges(t *testing.T) {
	b := newBench(t)
	rapid.Check(t, func(t *rapid.T) {
		b.move(masking.TenantID(fmt.Sprint("t", b.first)), b.first+4)
		b.pass(24 * time.Hour) // what the check before left has expired
		if _, err := b.Allocations.Sweep(context.Background(), 1000); err != nil {
			t.Fatal(err)
		}
		var ids []masking.AllocationID
		changes := 0
		did := func(err error) {
			switch masking.KindOf(err) {
			case "":
				if err != nil {
					t.Fatal(err)
				}
				changes++
			case masking.Conflict, masking.Exhausted, masking.Invalid:
			default:
				t.Fatal(err)
			}
		}
		people := func(label string) []e164.Number {
			return storetest.People(rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 1, 2, rapid.ID[int]).Draw(t, label)...)
		}
		some := func() masking.AllocationID { return rapid.SampledFrom(ids).Draw(t, "allocation") }
		o := once[control.Snapshot]("", 0)
		ctx := context.Background()
		actions := map[string]func(*rapid.T){
			"create": func(*rapid.T) {
				want := on(b.first+rapid.IntRange(0, 3).Draw(t, "number"), people("from"), people("to"))
				want.Duration = time.Duration(rapid.IntRange(1, 5).Draw(t, "minutes")) * time.Minute
				want.Usage = rapid.SampledFrom([]masking.Usage{masking.TwoWay, masking.OneWay}).Draw(t, "usage")
				if rapid.Bool().Draw(t, "auto") {
					want.VirtualNumber = e164.Number{}
				}
				made := o
				made.Render = func(s control.Snapshot) control.Answer { ids = append(ids, s.ID); return control.Answer{} }
				_, err := b.Allocations.Create(ctx, b.tenant, want, made)
				did(err)
			},
			"time": func(*rapid.T) { b.pass(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second) },
			"parties": func(t *rapid.T) {
				if len(ids) == 0 {
					return // nothing to change yet
				}
				_, err := b.Allocations.UpdateParties(ctx, b.tenant, some(), people("from"), nil, o)
				did(err)
			},
			"number": func(t *rapid.T) {
				if len(ids) == 0 {
					return // nothing to change yet
				}
				_, err := b.Allocations.UpdateNumber(ctx, b.tenant, some(), storetest.Virtual(b.first+rapid.IntRange(0, 3).Draw(t, "number")), o)
				did(err)
			},
			"patch": func(t *rapid.T) {
				if len(ids) == 0 {
					return // nothing to change yet
				}
				d := time.Duration(rapid.IntRange(1, 300).Draw(t, "seconds")) * time.Second
				_, err := b.Allocations.Patch(ctx, b.tenant, some(), masking.Patch{Duration: &d}, o)
				did(err)
			},
			"delete": func(t *rapid.T) {
				if len(ids) == 0 {
					return // nothing to change yet
				}
				id := some()
				before, err := b.Allocations.Get(ctx, b.tenant, id)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Allocations.Delete(ctx, b.tenant, id, false, o); err != nil {
					t.Fatal(err)
				}
				if before.Status(b.clock()) == masking.Active {
					changes++
				}
			},
		}
		t.Repeat(actions)
		n, err := b.Allocations.Sweep(ctx, 1000)
		if err != nil {
			t.Fatal(err)
		}
		b.inspect(t, changes+n)
	})
}

// inspect compares loads, routes and events with the allocations.
func (b *bench) inspect(t *rapid.T, changes int) {
	now := b.clock()
	err := b.disturbed.Store.View(context.Background(), func(ctx context.Context, tx store.Reader) error {
		active, err := tx.Allocations(ctx, store.AllocationFilter{Tenant: b.tenant.ID, Product: masking.GreenVN, Status: masking.Active, Limit: 1000, Now: now})
		if err != nil {
			return err
		}
		numbers, err := tx.Numbers(ctx, b.tenant.ID, "", 100)
		if err != nil {
			return err
		}
		for _, vn := range numbers {
			on := slices.DeleteFunc(slices.Clone(active), func(a masking.Allocation) bool { return a.VirtualNumber != vn.Number })
			if vn.Load != len(on) {
				t.Errorf("a number says it carries %d allocations, %d are active on it", vn.Load, len(on))
			}
			if vn.Sharing == masking.Exclusive && len(on) > 1 {
				t.Errorf("%d allocations on an exclusive number", len(on))
			}
			for i := range 6 {
				checkRoute(ctx, t, tx, vn.Number, storetest.Person(i), on, now)
			}
		}
		events, err := tx.Events(ctx, store.EventFilter{Tenant: b.tenant.ID, Limit: 10_000})
		if len(events) != changes {
			t.Errorf("%d events of %d changes", len(events), changes)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkRoute(ctx context.Context, t *rapid.T, tx store.Reader, virtual, caller e164.Number, on []masking.Allocation, now time.Time) {
	naming := slices.DeleteFunc(slices.Clone(on), func(a masking.Allocation) bool { return !slices.Contains(a.Callers(), caller) })
	route, err := tx.Route(ctx, virtual, caller)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := masking.Admit(route, caller, now)
	switch {
	case len(naming) > 1:
		t.Errorf("two active allocations name one caller on one number")
	case len(naming) == 1 && (err != nil || plan.Allocation.ID != naming[0].ID):
		t.Errorf("a caller is not routed to the allocation that names him: %v", err)
	case len(naming) == 0 && err == nil:
		t.Errorf("a caller whom no allocation names is routed")
	}
}

// sealer seals so that a test can see what it sealed.
type sealer struct{}

func (sealer) Seal(of, secret string) []byte { return []byte(of + " keeps " + secret) }
