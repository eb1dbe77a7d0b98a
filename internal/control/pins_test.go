package control_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
)

// pin makes a GreenPin allocation on the i-th number and reads it back.
func (b *bench) pin(i int) (masking.Allocation, error) {
	b.Helper()
	var made masking.Allocation
	o := once[control.Snapshot]("", 0)
	o.Render = func(s control.Snapshot) control.Answer { made = s.Allocation; return control.Answer{} }
	_, err := b.Pins.Create(context.Background(), b.tenant, control.NewPin{
		Draft: masking.Draft{From: storetest.People(1), To: storetest.People(2), Duration: time.Hour}, VirtualNumber: storetest.Virtual(i)}, o)
	return made, err
}

func TestWhenOneInTwentyOfALengthIsTakenNewPINsAreLonger(t *testing.T) {
	b := newBench(t)
	var pins []string
	lengths := map[int]int{}
	for i := range 520 {
		a, err := b.pin(0)
		if err != nil {
			t.Fatal(err)
		}
		if a.PIN.Trivial() {
			t.Errorf("the %d-th PIN is trivial", i)
		}
		pins = append(pins, a.PIN.Reveal())
		lengths[len(a.PIN)]++
		if want := 4; i < 500 && len(a.PIN) != want {
			t.Fatalf("the %d-th PIN has %d digits", i, len(a.PIN))
		}
	}
	if lengths[4] != 500 || lengths[5] != 20 {
		t.Errorf("PINs by their lengths: %v, want 500 of 4 digits and 20 of 5", lengths)
	}
	slices.Sort(pins)
	for i := 1; i < len(pins); i++ {
		if strings.HasPrefix(pins[i], pins[i-1]) { // in this order neighbours would be
			t.Fatalf("one PIN begins with another")
		}
	}
	other, err := b.pin(1)
	if err != nil || len(other.PIN) != 4 {
		t.Errorf("on another number a PIN of %d digits, %v", len(other.PIN), err)
	}
	b.pass(time.Hour) // all of them have expired; nobody has swept
	again, err := b.pin(0)
	if err != nil || len(again.PIN) != 4 {
		t.Errorf("an hour later a PIN of %d digits, %v", len(again.PIN), err)
	}
}

// stuck is randomness that always says the same.
type stuck uint64

func (s stuck) Read(p []byte) (int, error) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(s))
	for i := range p {
		p[i] = b[i%len(b)]
	}
	return len(p), nil
}

// drawing is a bench whose randomness is the test's.
func drawing(t *testing.T, random io.Reader) *bench {
	t.Helper()
	b := newBench(t)
	var err error
	b.Plane, err = control.New(control.Options{TrunkSecrets: sealer{}, WebhookSecrets: sealer{}, Store: b.disturbed, Clock: b.clock, Random: random,
		Log: slog.New(slog.NewTextHandler(b.logs, nil)), TokenKey: bytes.Repeat([]byte{1}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestANumberOfWhichNoPINCanBeDrawnIsExhausted(t *testing.T) {
	b := drawing(t, stuck(48_217_305))
	for _, want := range []string{"7305", "17305", "217305", "8217305", "48217305"} {
		b.pass(time.Millisecond) // for another identifier
		if a, err := b.pin(0); err != nil || a.PIN.Reveal() != want {
			t.Fatalf("PIN %q, %v; want %q", a.PIN.Reveal(), err, want)
		}
	}
	b.pass(time.Millisecond)
	_, err := b.pin(0)
	var refused *masking.Error
	if !errors.As(err, &refused) || refused.Kind != masking.Exhausted || refused.Code != masking.CodeNoPINAvailable {
		t.Errorf("the sixth: %v", err)
	}
	before, events := b.count()
	if before != 0 || events != 5 { // count sees GreenVN allocations alone
		t.Errorf("%d allocations, %d events", before, events)
	}
	if a, err := b.pin(1); err != nil || a.PIN.Reveal() != "7305" {
		t.Errorf("on another number: %v", err)
	}
}

func TestATrivialPINIsNeverGiven(t *testing.T) {
	b := drawing(t, stuck(90_001_234)) // 1234 and 01234 are steps
	if a, err := b.pin(0); err != nil || a.PIN.Reveal() != "001234" {
		t.Errorf("PIN %q, %v", a.PIN.Reveal(), err)
	}
	none := drawing(t, stuck(33_333_333))
	if _, err := none.pin(0); masking.KindOf(err) != masking.Exhausted {
		t.Errorf("with nothing but trivial ones: %v", err)
	}
}

func TestTheTwoPINsOfAnAllocationAreToldApart(t *testing.T) {
	b := drawing(t, stuck(48_217_305))
	b.tenant.Settings.PINFallback = true
	a := b.create(0, storetest.People(1), storetest.People(2))
	if a.PIN.Reveal() != "7305" || a.ToPIN.Reveal() != "17305" || a.MaxPINAttempts != masking.DefaultPINAttempts {
		t.Errorf("PINs %q and %q, %d attempts", a.PIN.Reveal(), a.ToPIN.Reveal(), a.MaxPINAttempts)
	}
	b.pass(time.Millisecond) // for another identifier
	if a = b.create(2, storetest.People(1), storetest.People(2)); a.PIN.Reveal() != "7305" || a.ToPIN.Reveal() != "17305" {
		t.Errorf("on another number PINs %q and %q", a.PIN.Reveal(), a.ToPIN.Reveal())
	}
	b.pass(time.Millisecond)
	b.create(2, storetest.People(3), storetest.People(4)) // 217305 and 8217305
	b.pass(time.Millisecond)
	_, err := b.Allocations.Create(t.Context(), b.tenant, on(2, storetest.People(5), storetest.People(6)), once[control.Snapshot]("", 0))
	if masking.KindOf(err) != masking.Exhausted { // 48217305 is for one side only
		t.Errorf("with one PIN left for two sides: %v", err)
	}
	if made, _ := b.count(); made != 3 {
		t.Errorf("%d allocations, want 3", made)
	}
}

func TestAPINOpensItsAllocationAndUnlockingForgetsWrongOnes(t *testing.T) {
	b := newBench(t)
	a, err := b.pin(2)
	if err != nil {
		t.Fatal(err)
	}
	enter := func(pin masking.PIN) (v masking.PINVerdict) {
		t.Helper()
		err := b.disturbed.Store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
			c, err := tx.PINCase(ctx, a.VirtualNumber, storetest.Person(1), pin, b.clock())
			if err != nil {
				return err
			}
			v = masking.JudgePIN(c, storetest.Person(1), pin, b.clock())
			return tx.CountWrong(ctx, v.Count, b.clock())
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	wrong := masking.PIN("0001")
	if v := enter(a.PIN); v.Refusal != "" || v.Plan.Allocation.ID != a.ID {
		t.Errorf("the right PIN: %+v", v.Refusal)
	}
	for range masking.DefaultPINAttempts {
		enter(wrong)
	}
	if v := enter(a.PIN); v.Refusal != masking.RefusedPINLocked {
		t.Errorf("the right PIN after three wrong ones: %q", v.Refusal)
	}
	_, events := b.count()
	if _, err := b.Pins.Unlock(t.Context(), b.tenant, a.ID, storetest.Person(2), once[control.Snapshot]("", 0)); err != nil {
		t.Fatal(err)
	}
	if v := enter(a.PIN); v.Refusal != masking.RefusedPINLocked {
		t.Errorf("after unlocking somebody else: %q", v.Refusal)
	}
	for _, caller := range storetest.People(1) {
		if _, err := b.Pins.Unlock(t.Context(), b.tenant, a.ID, caller, once[control.Snapshot]("", 0)); err != nil {
			t.Fatal(err)
		}
	}
	if v := enter(a.PIN); v.Refusal != "" {
		t.Errorf("after unlocking him: %q", v.Refusal)
	}
	if _, after := b.count(); after != events {
		t.Errorf("unlocking wrote %d events", after-events)
	}
}

func TestIfTheStoreFailsNoneOfManyUpdatesRemains(t *testing.T) {
	b := newBench(t)
	a, err := b.pin(2)
	if err != nil {
		t.Fatal(err)
	}
	text := "changed"
	items := []control.PinItem{{ID: a.ID, PinChange: control.PinChange{Patch: masking.Patch{CustomField: &text}}}}
	b.disturbed.update = func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error {
		return real.Update(ctx, func(ctx context.Context, tx store.Tx) error { return fn(ctx, failing{tx}) })
	}
	if _, err := b.Pins.UpdateMany(t.Context(), b.tenant, items, once[[]control.PinOutcome]("k", 1)); masking.KindOf(err) != masking.Unavailable {
		t.Errorf("with the store failing: %v", err)
	}
	b.disturbed.update = nil
	if got, err := b.Pins.Get(t.Context(), b.tenant, a.ID); err != nil || got.CustomField != "" {
		t.Errorf("%q remains, %v", got.CustomField, err)
	}
}

// shelf is a blob store of names that may fail.
type shelf struct {
	control.Sounds
	mu    sync.Mutex
	keys  map[string]bool
	stuck map[string]bool // keys that cannot be removed
}

func (s *shelf) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck[key] {
		return errors.New("bucket on fire")
	}
	delete(s.keys, key)
	return nil
}

func (s *shelf) left() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for k := range s.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// archive is a bench with recordings a, b and c, an hour apart, of which c is
// held, and a shelf with their sound.
func archive(t *testing.T) (*bench, *shelf, map[string]masking.CallID) {
	t.Helper()
	b := newBench(t)
	s := &shelf{keys: map[string]bool{}, stuck: map[string]bool{}}
	var err error
	b.Plane, err = control.New(control.Options{TrunkSecrets: sealer{}, WebhookSecrets: sealer{}, Store: b.disturbed, Clock: b.clock, Random: stuck(7), Sounds: s,
		Log: slog.New(slog.NewTextHandler(b.logs, nil)), TokenKey: bytes.Repeat([]byte{1}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]masking.CallID{}
	err = b.disturbed.Store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for i, name := range []string{"a", "b", "c"} {
			calls[name], s.keys[name] = storetest.CallID(i), true
			r := masking.Recording{Call: calls[name], Tenant: "acme", VirtualNumber: storetest.Virtual(0), Status: masking.RecordingRunning,
				StartedAt: b.now.Add(time.Duration(i) * time.Hour)}
			if err := tx.BeginRecording(ctx, r); err != nil {
				return err
			}
			r.Status, r.StoredAt, r.Key = masking.RecordingStored, r.StartedAt.Add(time.Minute), name
			if _, err := tx.EndRecording(ctx, r); err != nil {
				return err
			}
			r.Held = name == "c"
			if err := tx.UpdateRecording(ctx, r); err != nil {
				return err
			}
		}
		b.tenant.Settings.RecordingRetention = 24 * time.Hour
		return tx.UpdateTenant(ctx, b.tenant)
	})
	if err != nil {
		t.Fatal(err)
	}
	return b, s, calls
}

func TestRetentionRemovesWhatIsOldAndNotHeld(t *testing.T) {
	b, s, calls := archive(t)
	sweep := func(limit, want int, left ...string) {
		t.Helper()
		n, err := b.Recordings.Sweep(t.Context(), limit)
		if err != nil || n != want || !slices.Equal(s.left(), left) {
			t.Errorf("removed %d, %v, left %v; want %d, left %v", n, err, s.left(), want, left)
		}
	}
	b.pass(24*time.Hour - time.Millisecond)
	sweep(10, 0, "a", "b", "c")
	b.pass(time.Millisecond) // a is a day old
	sweep(10, 1, "b", "c")
	sweep(10, 0, "b", "c")
	b.pass(100 * time.Hour)
	sweep(10, 1, "c") // which is held
	if r, err := b.Recordings.Get(t.Context(), "acme", calls["a"]); err != nil || r.Status != masking.RecordingDeleted || r.Key != "" || r.DeletedAt.IsZero() {
		t.Errorf("what remains of a: %+v, %v", r, err)
	}
	if _, err := b.Recordings.Hold(t.Context(), "acme", calls["c"], false, once[masking.Recording]("", 0)); err != nil {
		t.Fatal(err)
	}
	b.tenant.Settings.RecordingRetention = 0
	if err := b.disturbed.Store.Update(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.UpdateTenant(ctx, b.tenant) }); err != nil {
		t.Fatal(err)
	}
	sweep(10, 0, "c") // kept for ever
	b.disturbed.views.Store(0)
	b.disturbed.update = func(context.Context, store.Store, func(context.Context, store.Tx) error) error {
		t.Error("a sweep with nothing to do writes")
		return nil
	}
	sweep(10, 0, "c")
}

func TestASweepRemovesNoMoreThanItMay(t *testing.T) {
	b, s, _ := archive(t)
	b.pass(100 * time.Hour)
	for _, left := range [][]string{{"b", "c"}, {"c"}} {
		if n, err := b.Recordings.Sweep(t.Context(), 1); err != nil || n != 1 || !slices.Equal(s.left(), left) {
			t.Errorf("removed %d, %v, left %v", n, err, s.left())
		}
	}
}

func TestSoundThatCouldNotBeRemovedIsRemovedLater(t *testing.T) {
	b, s, calls := archive(t)
	s.stuck["a"] = true
	if _, err := b.Recordings.Delete(t.Context(), "acme", calls["a"], once[masking.Recording]("", 0)); err != nil {
		t.Fatalf("the tenant hears of it: %v", err)
	}
	if _, _, err := b.Recordings.Open(t.Context(), "acme", calls["a"], control.Origin{}); masking.KindOf(err) != masking.NotFound {
		t.Errorf("it can still be heard: %v", err)
	}
	if !strings.Contains(b.logs.String(), "a deleted recording still has its sound") {
		t.Errorf("the log says %s", b.logs)
	}
	b.pass(100 * time.Hour) // b is due as well, and not held up
	if n, err := b.Recordings.Sweep(t.Context(), 10); err == nil || n != 0 || !slices.Equal(s.left(), []string{"a", "c"}) {
		t.Errorf("removed %d, %v, left %v", n, err, s.left())
	}
	delete(s.stuck, "a")
	if n, err := b.Recordings.Sweep(t.Context(), 10); err != nil || n != 1 || !slices.Equal(s.left(), []string{"c"}) {
		t.Errorf("removed %d, %v, left %v", n, err, s.left())
	}
}

// A process that dies between the steps of a deletion stands for one whose second
// transaction never comes.
func TestACrashBetweenTheStepsOfADeletionIsMadeGood(t *testing.T) {
	b, s, calls := archive(t)
	changes := 0
	b.disturbed.update = func(ctx context.Context, real store.Store, fn func(context.Context, store.Tx) error) error {
		if changes++; changes > 1 {
			return errors.New("gone")
		}
		return real.Update(ctx, fn)
	}
	if _, err := b.Recordings.Delete(t.Context(), "acme", calls["a"], once[masking.Recording]("", 0)); err != nil {
		t.Fatal(err)
	}
	b.disturbed.update = nil
	if r, err := b.Recordings.Get(t.Context(), "acme", calls["a"]); err != nil || r.Status != masking.RecordingDeleted || r.Key == "" {
		t.Fatalf("after the crash: %+v, %v", r, err)
	}
	if n, err := b.Recordings.Sweep(t.Context(), 10); err != nil || n != 1 {
		t.Errorf("removed %d, %v", n, err)
	}
	if r, err := b.Recordings.Get(t.Context(), "acme", calls["a"]); err != nil || r.Key != "" || !slices.Equal(s.left(), []string{"b", "c"}) {
		t.Errorf("after the sweep: %+v, %v, left %v", r, err, s.left())
	}
}
