package storetest

import (
	"context"
	"fmt"
	"slices"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// on are the live allocations on a number of the model.
func (m *model) on(virtual e164.Number) (live []masking.Allocation) {
	for _, a := range m.all {
		if a.VirtualNumber == virtual && a.Status(m.now) == masking.Active {
			live = append(live, a)
		}
	}
	return live
}

// checkPINs asks which lengths of PINs live, what a PIN opens, whose entries
// count, and whether the choice offers the number to an allocation by numbers.
// Every check asks about another PIN and another caller: all of them each time
// would take most of the suite's time.
func (m *model) checkPINs(ctx context.Context, tx store.Reader, n masking.VirtualNumber) error {
	m.checks++
	var lengths []int
	live := m.on(n.Number)
	for i, pin := range m.pins {
		var want []masking.AllocationID
		for _, a := range live {
			if slices.Contains(a.PINs(), pin) {
				want = append(want, a.ID)
				lengths = append(lengths, len(pin))
			}
		}
		if i != m.checks%len(m.pins) {
			continue
		}
		if err := m.checkPIN(ctx, tx, n.Number, pin, want); err != nil {
			return err
		}
	}
	got, err := tx.PINLengths(ctx, n.Number, m.now)
	if err != nil || !slices.Equal(got, lengths) {
		return fmt.Errorf("lengths %v (%w), the model has %v", got, err, lengths)
	}
	caller := m.people[m.checks%len(m.people)]
	r, err := tx.Route(ctx, n.Number, caller)
	if err != nil || (len(lengths) > 0 && !r.PINs) {
		return fmt.Errorf("the route knows of no PIN (%w)", err)
	}
	if err := m.checkParty(ctx, tx, n.Number, caller); err != nil {
		return err
	}
	if n.Sharing == masking.Shared {
		return nil
	}
	usable, err := tx.Usable(ctx, m.tenant, masking.Pick{Sharing: masking.Exclusive}, m.people, m.now, 0)
	offered := slices.ContainsFunc(usable, func(v masking.VirtualNumber) bool { return v.Number == n.Number })
	if err != nil || offered != (len(live) == 0) {
		return fmt.Errorf("offered: %v (%w), the model has %d on it", offered, err, len(live))
	}
	return nil
}

// checkPIN asks a stranger's question: want are the allocations that the PIN opens.
func (m *model) checkPIN(ctx context.Context, tx store.Reader, virtual e164.Number, pin masking.PIN, want []masking.AllocationID) error {
	c, err := tx.PINCase(ctx, virtual, Person(99999), pin, m.now)
	if err != nil {
		return err
	}
	v := masking.JudgePIN(c, Person(99999), pin, m.now)
	switch {
	case len(want) > 1:
		return fmt.Errorf("the model itself has %d allocations with one PIN", len(want))
	case len(want) == 0 && v.Refusal != masking.RefusedPIN:
		return fmt.Errorf("a PIN opens %s, in the model none", v.Plan.Allocation.ID)
	case len(want) == 1 && v.Plan.Allocation.ID != want[0]:
		return fmt.Errorf("a PIN opens %q, in the model %s", v.Plan.Allocation.ID, want[0])
	}
	free, err := tx.PINFree(ctx, virtual, pin, m.now)
	if err != nil || (len(want) == 1 && free) {
		return fmt.Errorf("a live PIN is free (%w)", err)
	}
	return nil
}

// checkParty asks against which allocations a caller's entries count.
func (m *model) checkParty(ctx context.Context, tx store.Reader, virtual, caller e164.Number) error {
	var want, got []masking.AllocationID
	for _, a := range m.on(virtual) {
		if len(a.PINs()) > 0 && slices.Contains(a.Parties(), caller) {
			want = append(want, a.ID)
		}
	}
	c, err := tx.PINCase(ctx, virtual, caller, "0000", m.now)
	for _, p := range c.Party {
		got = append(got, p.Allocation)
	}
	slices.Sort(want)
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("entries count in %v (%w), in the model in %v", got, err, want)
	}
	return nil
}
