package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

func modelTests() []test {
	return []test{{"EveryCallGoesWhereTheModelSaysAfterEveryStep", modelAgrees}}
}

// model is the central rule in the plainest words: a list of allocations,
// searched from end to end.
type model struct {
	b       *bench
	tenant  masking.TenantID
	numbers []masking.VirtualNumber
	people  []e164.Number
	pins    []masking.PIN
	all     []masking.Allocation
	now     time.Time
	made    int
	checks  int
}

// modelAgrees runs random sequences of changes against the store and the
// model. Each sequence has a tenant, numbers and people of its own, so that
// one store serves all of them.
func modelAgrees(b *bench) {
	var runs atomic.Int64
	rapid.Check(b.T, func(t *rapid.T) {
		m := newModel(b, t, int(runs.Add(1)))
		t.Repeat(map[string]func(*rapid.T){
			"":              m.check,
			"create":        m.create,
			"createAgain":   m.create, // twice as often as the rest
			"parties":       m.parties,
			"number":        m.number,
			"duration":      m.duration,
			"delete":        m.delete,
			"sweep":         m.sweep,
			"changeSharing": m.sharing,
			"advance": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(1, 40_000).Draw(t, "ms")) * time.Millisecond)
			},
		})
	})
}

func newModel(b *bench, t *rapid.T, run int) *model {
	m := &model{b: b, tenant: masking.TenantID(fmt.Sprintf("run-%d", run)), now: Start(), pins: []masking.PIN{"4821", "48213", "7391506"}}
	for i := range 3 {
		sharing := masking.Shared
		if i == 0 {
			sharing = masking.Exclusive
		}
		m.numbers = append(m.numbers, Number(m.tenant, Virtual(run*3+i), sharing))
	}
	for i := range 5 {
		m.people = append(m.people, Person(run*5+i))
	}
	tenant := Tenant(b, m.tenant)
	m.must(t, func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, tenant); err != nil {
			return err
		}
		for _, n := range m.numbers {
			if err := tx.InsertNumber(ctx, n, m.now); err != nil {
				return err
			}
		}
		return nil
	})
	return m
}

func (m *model) must(t *rapid.T, fn func(ctx context.Context, tx store.Tx) error) {
	if err := m.b.Update(m.b.Context(), fn); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// conflict is what the rule says about an allocation: "" or the refusal.
func (m *model) conflict(a masking.Allocation) masking.Code {
	exclusive := m.sharingOf(a.VirtualNumber) == masking.Exclusive
	for _, other := range m.all {
		if other.ID == a.ID || other.VirtualNumber != a.VirtualNumber || other.Status(m.now) != masking.Active {
			continue
		}
		if exclusive && (a.Product() == masking.GreenVN || other.Product() == masking.GreenVN) {
			return masking.CodeVirtualNumberInUse
		}
		if slices.ContainsFunc(a.PINs(), func(p masking.PIN) bool { return slices.Contains(other.PINs(), p) }) {
			return masking.ErrClaimed(m.sharingOf(a.VirtualNumber)).Code
		}
		if a.Product() != other.Product() {
			continue // nobody meets by his number who needs a PIN
		}
		for _, n := range a.Parties() {
			both := slices.Contains(other.Parties(), n)
			if both && (slices.Contains(a.Callers(), n) || slices.Contains(other.Callers(), n)) {
				return masking.CodePartyInUse
			}
		}
	}
	return ""
}

func (m *model) sharingOf(n e164.Number) masking.Sharing {
	i := slices.IndexFunc(m.numbers, func(v masking.VirtualNumber) bool { return v.Number == n })
	return m.numbers[i].Sharing
}

// agree compares what the store said with what the model says.
func agree(t *rapid.T, what string, err error, want masking.Code) (accepted bool) {
	if want == "" {
		if err != nil {
			t.Fatalf("%s: %v, the model accepts it", what, err)
		}
		return true
	}
	if e := hasCode(err, want); e != nil {
		t.Fatalf("%s: %v", what, e)
	}
	return false
}

// two draws two disjoint sides.
func (m *model) two(t *rapid.T) (from, to []e164.Number) {
	people := rapid.Permutation(m.people).Draw(t, "people")
	cut := rapid.IntRange(1, 2).Draw(t, "from")
	end := rapid.IntRange(cut+1, 4).Draw(t, "to")
	return slices.Clone(people[:cut]), slices.Clone(people[cut:end])
}

func (m *model) drawNumber(t *rapid.T) e164.Number {
	return rapid.SampledFrom(m.numbers).Draw(t, "number").Number
}

func (m *model) create(t *rapid.T) {
	from, to := m.two(t)
	m.made++
	a := Allocation(m.tenant, masking.AllocationID(fmt.Sprintf("gvn_%s_%04d", m.tenant, m.made)), m.drawNumber(t), from, to)
	a.Usage = rapid.SampledFrom([]masking.Usage{masking.TwoWay, masking.OneWay}).Draw(t, "usage")
	switch pin := rapid.SampledFrom(m.pins).Draw(t, "pin"); rapid.IntRange(0, 3).Draw(t, "product") {
	case 0:
		a = ByPIN(a, pin)
		a.Usage = masking.TwoWay
	case 1:
		a.PIN = pin
	}
	a.CreatedAt, a.UpdatedAt = m.now, m.now
	a.ExpiresAt = m.now.Add(time.Duration(rapid.IntRange(1, 60_000).Draw(t, "life")) * time.Millisecond)
	if agree(t, "create", Create(m.b.Context(), m.b, a, m.now), m.conflict(a)) {
		m.all = append(m.all, a)
	}
}

// change draws an allocation and changes it in the store and in the model.
func (m *model) change(t *rapid.T, what string, change func(masking.Allocation) (masking.Allocation, error)) {
	if len(m.all) == 0 {
		t.Skip("nothing to change")
	}
	i := rapid.IntRange(0, len(m.all)-1).Draw(t, "allocation")
	want := masking.CodeAllocationNotActive
	next, err := change(m.all[i])
	if err == nil {
		want = m.conflict(next)
	}
	if agree(t, what, Change(m.b.Context(), m.b, m.tenant, m.all[i].ID, m.now, change), want) {
		m.all[i] = next
	}
}

func (m *model) parties(t *rapid.T) {
	from, to := m.two(t)
	m.change(t, "parties", func(a masking.Allocation) (masking.Allocation, error) { return a.WithParties(from, to, m.now) })
}

func (m *model) number(t *rapid.T) {
	n := m.drawNumber(t)
	m.change(t, "number", func(a masking.Allocation) (masking.Allocation, error) { return a.WithVirtualNumber(n, m.now) })
}

func (m *model) duration(t *rapid.T) {
	seconds := rapid.IntRange(1, 60).Draw(t, "life")
	settings := masking.DefaultSettings(time.UTC)
	m.change(t, "duration", func(a masking.Allocation) (masking.Allocation, error) {
		life := time.Duration(seconds) * time.Second
		if a.Product() == masking.GreenPin {
			life += masking.MinPINDuration
		}
		return a.WithPatch(masking.Patch{Duration: &life}, settings, m.now)
	})
}

func (m *model) delete(t *rapid.T) {
	if len(m.all) == 0 {
		t.Skip("nothing to delete")
	}
	i := rapid.IntRange(0, len(m.all)-1).Draw(t, "allocation")
	agree(t, "delete", Delete(m.b.Context(), m.b, m.tenant, m.all[i].ID, m.now), "")
	m.all[i], _ = m.all[i].End(masking.EndedByAPI, m.now)
}

// sweep writes the ends of expired allocations, as upkeep does; no call may
// go another way for it. It may meet those of earlier sequences as well.
func (m *model) sweep(t *rapid.T) {
	m.must(t, func(ctx context.Context, tx store.Tx) error {
		over, err := tx.Overdue(ctx, m.now, 100)
		if err != nil {
			return err
		}
		for _, a := range over {
			a, _ = a.End(masking.EndedByExpired, m.now)
			if err := tx.Release(ctx, a.ID); err != nil {
				return err
			}
			if err := tx.UpdateAllocation(ctx, a); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *model) sharing(t *rapid.T) {
	i := rapid.IntRange(0, len(m.numbers)-1).Draw(t, "number")
	n := m.numbers[i]
	n.Sharing = masking.Exclusive
	if m.numbers[i].Sharing == masking.Exclusive {
		n.Sharing = masking.Shared
	}
	want := masking.Code("")
	for _, a := range m.all {
		if a.VirtualNumber == n.Number && a.Status(m.now) == masking.Active {
			want = masking.CodeStillInUse
		}
	}
	err := m.b.Update(m.b.Context(), func(ctx context.Context, tx store.Tx) error { return tx.UpdateNumber(ctx, n, m.now) })
	if agree(t, "sharing", err, want) {
		m.numbers[i] = n
	}
}

// check asks the store about every number and every caller.
func (m *model) check(t *rapid.T) {
	err := m.b.View(m.b.Context(), func(ctx context.Context, tx store.Reader) error {
		for _, n := range m.numbers {
			for _, caller := range m.people {
				if err := m.checkCall(ctx, tx, n.Number, caller); err != nil {
					return fmt.Errorf("number %v, caller %v: %w", n.Number, caller, err)
				}
			}
			if err := m.checkPINs(ctx, tx, n); err != nil {
				return fmt.Errorf("number %v: %w", n.Number, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (m *model) checkCall(ctx context.Context, tx store.Reader, virtual, caller e164.Number) error {
	var want []masking.Allocation
	silent := false
	for _, a := range m.all {
		if a.VirtualNumber != virtual || a.Status(m.now) != masking.Active {
			continue
		}
		if slices.Contains(a.Callers(), caller) {
			want = append(want, a)
		}
		silent = silent || (a.Usage == masking.OneWay && slices.Contains(a.To, caller))
	}
	if len(want) > 1 {
		return fmt.Errorf("the model itself has %d allocations", len(want))
	}
	r, err := tx.Route(ctx, virtual, caller)
	if err != nil {
		return err
	}
	plan, refusal := masking.Admit(r, caller, m.now)
	switch {
	case (refusal == nil) != (len(want) == 1):
		return fmt.Errorf("admitted: %v (%v), the model has %d", refusal == nil, refusal, len(want))
	case refusal == nil:
		if err := same(plan.Allocation, want[0]); err != nil {
			return err
		}
	}
	if _, found, err := tx.Silent(ctx, virtual, caller, m.now); err != nil || found != silent {
		return fmt.Errorf("Silent: %v, %w, the model says %v", found, err, silent)
	}
	return m.checkListed(ctx, tx, virtual, caller, len(want))
}

// checkListed asks the store's own lists about the rule: want allocations let
// the caller call.
func (m *model) checkListed(ctx context.Context, tx store.Reader, virtual, caller e164.Number, want int) error {
	listed, err := tx.Allocations(ctx, store.AllocationFilter{Tenant: m.tenant, Product: masking.GreenVN, VirtualNumber: virtual, Party: caller, Status: masking.Active, Now: m.now})
	if err != nil {
		return err
	}
	if err := named(listed, caller); err != nil {
		return err
	}
	callers := slices.DeleteFunc(listed, func(a masking.Allocation) bool { return !slices.Contains(a.Callers(), caller) })
	if len(callers) != want {
		return fmt.Errorf("%d active allocations are listed, the model has %d", len(callers), want)
	}
	return nil
}
