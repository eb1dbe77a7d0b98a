package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store/sqlite"
	"tandem/internal/testkit/database"
	"tandem/internal/voice/callflow"
)

// An explanation and a call of the same moment must come to the same. 100 checks of
// 20 worlds each; -rapid.checks=500 makes them 10,000.
const worldsInARow = 20

func TestAnExplanationAgreesWithTheRoutingOfACallInEveryWorld(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newRouted(t, rt)
		defer w.close()
		for range worldsInARow {
			w.change()
			for range 3 {
				w.compare()
			}
		}
	})
}

// routed is a world of two tenants, whose allocations are made by the control
// plane and routed by the voice plane.
type routed struct {
	*rapid.T
	dir      string
	store    *sqlite.Store
	journal  *callflow.Journal
	director *callflow.Director
	plane    *control.Plane
	now      time.Time
	tenants  []masking.TenantID
	numbers  []e164.Number // that may be in a pool
	people   []e164.Number
	made     []control.Snapshot
	held     []func() // calls that are up
	calls    int
}

// noServer is asked by nobody here: what it would say is no part of a route.
type noServer struct{}

func (noServer) Ask(context.Context, string, masking.Question) (masking.Answer, error) {
	return masking.Answer{}, errors.New("nobody is asked")
}

// plain seals nothing.
type plain struct{}

func (plain) Seal(_, secret string) []byte { return []byte(secret) }

func newRouted(t *testing.T, rt *rapid.T) *routed {
	dir, err := os.MkdirTemp(t.TempDir(), "world")
	if err != nil {
		rt.Fatal(err)
	}
	w := &routed{T: rt, dir: dir, now: time.Date(2024, 6, 15, 9, 30, 0, 0, time.UTC), tenants: []masking.TenantID{"acme", "zeta"}}
	for i := range 4 {
		w.numbers = append(w.numbers, e164.MustParse(fmt.Sprintf("+91400000000%d", i)))
	}
	for i := range 5 {
		w.people = append(w.people, e164.MustParse(fmt.Sprintf("+91990000000%d", i)))
	}
	ctx := context.Background()
	w.store = database.Open(t, sqlite.Options{Path: filepath.Join(dir, "t.db"), Synchronous: sqlite.Normal})
	clock, log := func() time.Time { return w.now }, slog.New(slog.DiscardHandler)
	w.journal = callflow.NewJournal(callflow.JournalOptions{Store: w.store, Clock: clock, Log: log, Node: "n1"})
	w.director = callflow.NewDirector(callflow.DirectorOptions{Store: w.store, Journal: w.journal, Clock: clock, Log: log, Key: []byte("key"), Asker: noServer{}})
	w.plane, err = control.New(control.Options{Store: w.store, Clock: clock, Random: rand.Reader, Log: log, TokenKey: make([]byte, 32),
		TrunkSecrets: plain{}, WebhookSecrets: plain{}, Routing: w.director})
	if err != nil {
		rt.Fatal(err)
	}
	for _, id := range w.tenants {
		w.must(w.plane.Tenants.Create(ctx, control.NewTenant{ID: id, Name: "T"}, done[control.Founded]()))
	}
	for _, n := range w.numbers[:3] {
		w.add(n)
	}
	return w
}

func (w *routed) close() {
	for _, release := range w.held {
		release()
	}
	if err := errors.Join(w.journal.Close(context.Background()), w.store.Close(), os.RemoveAll(w.dir)); err != nil {
		w.Fatal(err)
	}
}

// done is a change whose answer nobody reads.
func done[T any]() control.Once[T] {
	return control.Once[T]{Render: func(T) control.Answer { return control.Answer{} }}
}

// must lets refusals by a rule pass: they are part of the world.
func (w *routed) must(_ control.Answer, err error) {
	w.Helper()
	if k := masking.KindOf(err); err != nil && (k == "" || k == masking.Unavailable) {
		w.Fatal(err)
	}
}

func (w *routed) tenant(id masking.TenantID) masking.Tenant {
	t, err := w.plane.Tenants.Get(context.Background(), id)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

func (w *routed) someone() e164.Number { return rapid.SampledFrom(w.people).Draw(w.T, "person") }
func (w *routed) number() e164.Number  { return rapid.SampledFrom(w.numbers).Draw(w.T, "number") }

func (w *routed) side() []e164.Number {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(w.people), 1, 3, func(n e164.Number) e164.Number { return n }).Draw(w.T, "side")
}

func (w *routed) strangers() masking.StrangerPolicy {
	action := rapid.SampledFrom([]masking.StrangerAction{masking.Announce, masking.AskPIN, masking.Forward, masking.AskWebhook, masking.Reject}).Draw(w.T, "strangers")
	p := masking.StrangerPolicy{Action: action}
	switch action {
	case masking.Forward:
		p.Forward = w.someone()
	case masking.AskWebhook:
		p.URL = "https://example.com/strangers"
	}
	return p
}

// change makes the next world of the one there is.
func (w *routed) change() {
	steps := map[string]func(){"create": w.create, "create PIN": w.createPin, "alter": w.alter, "end": w.end, "settings": w.settings,
		"numbers": func() { w.add(w.number()) }, "remove": w.remove, "pass": w.pass, "call": w.dial, "hang up": w.hangUp, "guess": w.guess, "block": w.block, "talk": w.talk}
	names := []string{"create", "create", "create", "create PIN", "create PIN", "alter", "alter", "end", "settings", "numbers",
		"settings", "remove", "pass", "call", "call", "hang up", "guess", "block", "talk"}
	steps[rapid.SampledFrom(names).Draw(w.T, "step")]()
}

// add puts a number into a pool, or changes what strangers get there.
func (w *routed) add(n e164.Number) {
	ctx, id := context.Background(), rapid.SampledFrom(w.tenants).Draw(w.T, "pool of")
	vn := masking.VirtualNumber{Number: n, Sharing: rapid.SampledFrom([]masking.Sharing{masking.Exclusive, masking.Shared}).Draw(w.T, "sharing")}
	if rapid.Bool().Draw(w.T, "own policy") {
		vn.Strangers = w.strangers()
	}
	w.must(w.plane.Numbers.Add(ctx, id, []masking.VirtualNumber{vn}, done[[]masking.VirtualNumber]()))
	w.must(w.plane.Numbers.Update(ctx, id, n, func(had masking.VirtualNumber) masking.VirtualNumber {
		had.Strangers = vn.Strangers
		return had
	}, done[masking.VirtualNumber]()))
}

func (w *routed) remove() {
	w.must(w.plane.Numbers.Remove(context.Background(), rapid.SampledFrom(w.tenants).Draw(w.T, "of"), w.number(), done[e164.Number]()))
}

func (w *routed) draft() masking.Draft {
	d := masking.Draft{From: w.side(), To: w.side(), Duration: rapid.SampledFrom([]time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour}).Draw(w.T, "life"),
		Usage: rapid.SampledFrom([]masking.Usage{masking.TwoWay, masking.OneWay}).Draw(w.T, "usage")}
	return d
}

// keep is a change that leaves an allocation.
func (w *routed) keep() control.Once[control.Snapshot] {
	return control.Once[control.Snapshot]{Render: func(s control.Snapshot) control.Answer {
		w.made = append(w.made, s)
		return control.Answer{}
	}}
}

func (w *routed) create() {
	t := w.tenant(rapid.SampledFrom(w.tenants).Draw(w.T, "tenant"))
	w.must(w.plane.Allocations.Create(context.Background(), t, control.NewAllocation{Draft: w.draft(), VirtualNumber: w.number()}, w.keep()))
}

func (w *routed) createPin() {
	t, d := w.tenant(rapid.SampledFrom(w.tenants).Draw(w.T, "tenant")), w.draft()
	if d.Usage = masking.TwoWay; rapid.Bool().Draw(w.T, "nobody yet") {
		d.To = nil
	}
	w.must(w.plane.Pins.Create(context.Background(), t, control.NewPin{Draft: d, VirtualNumber: w.number()}, w.keep()))
}

// alter gives an allocation another number, other parties or another life.
func (w *routed) alter() {
	if len(w.made) == 0 {
		return
	}
	a := rapid.SampledFrom(w.made).Draw(w.T, "allocation")
	t, ctx, life := w.tenant(a.Tenant), context.Background(), rapid.SampledFrom([]time.Duration{5 * time.Minute, 2 * time.Hour}).Draw(w.T, "life")
	if a.Product() == masking.GreenPin {
		w.must(w.plane.Pins.Update(ctx, t, a.ID, control.PinChange{From: w.side(), To: w.side(), Patch: masking.Patch{Duration: &life}}, w.keep()))
		return
	}
	switch rapid.IntRange(0, 2).Draw(w.T, "what") {
	case 0:
		w.must(w.plane.Allocations.UpdateParties(ctx, t, a.ID, w.side(), w.side(), w.keep()))
	case 1:
		w.must(w.plane.Allocations.UpdateNumber(ctx, t, a.ID, w.number(), w.keep()))
	case 2:
		w.must(w.plane.Allocations.Patch(ctx, t, a.ID, masking.Patch{Duration: &life}, w.keep()))
	}
}

func (w *routed) end() {
	if len(w.made) == 0 {
		return
	}
	a := rapid.SampledFrom(w.made).Draw(w.T, "allocation")
	if a.Product() == masking.GreenPin {
		w.must(w.plane.Pins.Delete(context.Background(), w.tenant(a.Tenant), a.ID, false, done[control.Snapshot]()))
		return
	}
	w.must(w.plane.Allocations.Delete(context.Background(), w.tenant(a.Tenant), a.ID, false, done[control.Snapshot]()))
}

func (w *routed) settings() {
	policy, few := w.strangers(), rapid.IntRange(0, 2).Draw(w.T, "at most")
	strategy, fallback := rapid.SampledFrom(masking.RingStrategies).Draw(w.T, "ring"), rapid.Bool().Draw(w.T, "fallback")
	which, guards := rapid.IntRange(0, 3).Draw(w.T, "bound"), w.guards(few)
	w.must(w.plane.Settings.Update(context.Background(), rapid.SampledFrom(w.tenants).Draw(w.T, "of"), func(s *masking.Settings) error {
		s.Strangers, s.Ring, s.PINFallback, s.Guards = policy, strategy, fallback, guards
		s.MaxCalls, s.MaxAllocationCalls, s.MaxCallerRate = 0, 0, 0
		switch which {
		case 1:
			s.MaxCalls = few
		case 2:
			s.MaxAllocationCalls = few
		case 3:
			s.MaxCallerRate = 5 * few
		}
		return nil
	}, done[control.Configured]()))
}

// guards are of one kind or another, or none.
func (w *routed) guards(few int) masking.Guards {
	g := masking.Guards{Velocity: masking.DefaultVelocity()}
	prefixes := func() masking.Prefixes { return masking.Prefixes{"+1", w.someone().E164()} }
	switch rapid.IntRange(0, 6).Draw(w.T, "guard") {
	case 0:
		g.Allowed = prefixes()
	case 1:
		g.Permitted = prefixes()
	case 2:
		g.DayCalls = few
	case 3:
		g.DayTalk = time.Duration(few) * time.Minute
	case 4:
		g.Velocity = masking.Velocity{Window: 5 * time.Minute, Caller: few, Allocation: few, Tenant: 3 * few, Block: rapid.Bool().Draw(w.T, "blocks")}
	}
	return g
}

// block puts somebody on a tenant's list of blocked callers, or takes him off it.
func (w *routed) block() {
	ctx, of, who := context.Background(), rapid.SampledFrom(w.tenants).Draw(w.T, "of"), w.someone()
	if rapid.Bool().Draw(w.T, "through again") {
		w.must(w.plane.Blocked.Remove(ctx, of, who, done[e164.Number]()))
		return
	}
	w.must(w.plane.Blocked.Add(ctx, of, []e164.Number{who}, "", done[[]control.BlockedCaller]()))
}

// talk uses up a minute of an allocation's day.
func (w *routed) talk() {
	a := w.ask()
	r, release := w.route(a)
	if release == nil {
		return
	}
	defer release()
	if p := r.Plan; r.Refusal == "" && p.Allocation.ID != "" {
		zone := p.Tenant.Settings.Zone
		c := masking.Call{ID: a.Call, Tenant: p.Tenant.ID, Allocation: p.Allocation.ID, VirtualNumber: a.Called, Caller: a.Caller, Callee: p.Targets[0],
			Direction: p.Direction, Node: "n1", StartedAt: a.Received, Day: masking.DayOf(a.Received, zone)}
		w.journal.Note(masking.Began, c, zone)
		c.AnsweredAt = a.Received
		w.journal.Note(masking.Answered, c, zone)
		c.EndedAt, c.TalkTime, c.Cause = a.Received.Add(time.Minute), time.Minute, masking.CauseCallerHungUp
		w.journal.Note(masking.Ended, c, zone)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for w.journal.Waiting() > 0 { // the world is to stand still while it is compared
			<-tick.C
		}
	}
}

// pass lets time go by; whether the ends of allocations are written then is open.
func (w *routed) pass() {
	w.now = w.now.Add(rapid.SampledFrom([]time.Duration{20 * time.Second, time.Minute, 6 * time.Minute, 2 * time.Hour}).Draw(w.T, "time"))
	if rapid.Bool().Draw(w.T, "sweep") {
		if _, err := w.plane.Allocations.Sweep(context.Background(), 100); err != nil {
			w.Fatal(err)
		}
	}
}

// ask is a call of somebody, or of one who withholds his number, to a number.
func (w *routed) ask() masking.Ask {
	w.calls++
	a := masking.Ask{Call: masking.CallID(fmt.Sprintf("call_%d", w.calls)), Trunk: "in", Called: w.number(), Received: w.now}
	if rapid.IntRange(0, 9).Draw(w.T, "withheld") > 0 {
		a.Caller = rapid.SampledFrom(append(w.people[:len(w.people):len(w.people)], w.numbers[0])).Draw(w.T, "caller")
	}
	return a
}

// pin is one that is live, or not.
func (w *routed) pin() masking.PIN {
	pins := []masking.PIN{"0000", "48151"}
	for _, a := range w.made {
		pins = append(pins, a.Allocation.PINs()...)
	}
	return pins[rapid.IntRange(0, len(pins)-1).Draw(w.T, "PIN")]
}

// dial makes a call that stays up.
func (w *routed) dial() {
	if _, release := w.route(w.ask()); release != nil {
		w.held = append(w.held, release)
	}
}

func (w *routed) hangUp() {
	if len(w.held) > 0 {
		w.held[0]()
		w.held = w.held[1:]
	}
}

func (w *routed) guess() {
	if _, _, err := w.director.Enter(context.Background(), w.ask(), w.pin()); err != nil {
		w.Fatal(err)
	}
}

func (w *routed) route(a masking.Ask) (masking.Ruling, func()) {
	r, release, err := w.director.Route(context.Background(), a)
	if err != nil {
		w.Fatal(err)
	}
	return r, release
}

func (w *routed) explain(tenant masking.TenantID, a masking.Ask, pin masking.PIN) masking.Explanation {
	e, err := w.plane.Routes.Explain(context.Background(), tenant, control.RouteQuery{Caller: a.Caller, VirtualNumber: a.Called, PIN: pin})
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// compare explains a call twice, to its tenant and to the other one, and then makes it.
func (w *routed) compare() {
	a, pin := w.ask(), w.pin()
	var whose masking.TenantID
	if r, err := w.store.Route(context.Background(), a.Called, a.Caller); err == nil {
		whose = r.Tenant.ID
	}
	said := w.explain(whose, a, "")
	again, entered := w.explain(whose, a, ""), w.explain(whose, a, pin)
	for _, other := range w.tenants {
		if e := w.explain(other, a, pin); other != whose && e.Reason != masking.RefusedUnknownNumber {
			w.Fatalf("%s is told of a number of %q: %s", other, whose, e.Reason)
		}
	}
	r, release := w.route(a)
	if release != nil {
		defer release()
	}
	switch {
	case !reflect.DeepEqual(said.Ruling, r):
		w.Fatalf("explained %s %q %v, routed %s %q %v", said.Outcome(), said.Reason, said.Ruling.Plan.Targets, r.Then, r.Refusal, r.Plan.Targets)
	case !reflect.DeepEqual(said, again):
		w.Fatalf("explained differently the second time: %s %s", said.Reason, again.Reason)
	case r.Refusal == "" || r.Then != masking.AskPIN:
		if entered.PINJudged {
			w.Fatal("a PIN was judged that is not asked for")
		}
		return
	}
	opened, left, err := w.director.Enter(context.Background(), a, pin)
	if err != nil {
		w.Fatal(err)
	}
	if !reflect.DeepEqual(entered.Ruling, opened) || (opened.Refusal == masking.RefusedPIN && entered.PINsLeft != min(left, masking.TriesPerCall-1)) {
		w.Fatalf("explained %s %q with a PIN, entered %q; left %d and %d", entered.Outcome(), entered.Reason, opened.Refusal, entered.PINsLeft, left)
	}
}
